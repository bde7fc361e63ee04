"""FastAPI on uvicorn over real databases: what requests that hold a transaction answer, against what is stored."""
