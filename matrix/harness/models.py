"""The models that scenarios use: a table to write to, one to read from, one of counters."""

import inspect
from typing import Any

from tortoise import fields
from tortoise.models import Model

# Tortoise 0.21 renamed ``pk`` to ``primary_key``; one word for both would warn in one of them.
RENAMED = "primary_key" in inspect.signature(fields.Field.__init__).parameters
PRIMARY: dict[str, Any] = {"primary_key" if RENAMED else "pk": True}


class Entry(Model):
    """A row that one operation of one run wrote."""

    id = fields.IntField(**PRIMARY)
    token = fields.CharField(max_length=64, unique=True)
    value = fields.IntField(default=0)

    class Meta:
        table = "entry"


class Seed(Model):
    """A value that the witness stored, to be asked for."""

    id = fields.IntField(**PRIMARY)
    nonce = fields.CharField(max_length=64, unique=True)

    class Meta:
        table = "seed"


class Counter(Model):
    """A number that several tasks count up."""

    id = fields.IntField(**PRIMARY)
    name = fields.CharField(max_length=64, unique=True)
    value = fields.IntField()

    class Meta:
        table = "counter"
