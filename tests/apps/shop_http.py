"""The shop of shop.py behind FastAPI: ``uvicorn shop_http:application``, with ``Tortoise.init`` for your database."""

from fastapi import FastAPI
from shop import place_order, place_order_mended, reserve_all, reserve_all_mended

application = FastAPI()
for handler in (place_order, place_order_mended, reserve_all, reserve_all_mended):
    application.post(f"/{handler.__name__}", status_code=204)(handler)
