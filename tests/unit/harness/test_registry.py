"""The catalogue: every scenario says what it promises and on whose word, and no id is there twice."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest

from matrix.harness import scenario as registry
from matrix.harness.adapters.base import CAPABILITIES
from matrix.harness.cell import Cell
from matrix.harness.drivers import drivers
from matrix.harness.scenario import PROMISES, catalogue, promise, scenario
from matrix.words import FAMILIES, LEVELS, MUST

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ALL = list(catalogue().values())


def test_each_has_an_id_a_title_and_a_level():
    for made in ALL:
        assert re.fullmatch(r"(CON|CAN|POOL|ORM|TXN|NST|CTX|FIX|GEN)-[1-9]\d*[a-z]?", made.id), made.id
        assert made.family == FAMILIES[made.id.split("-")[0]].key, made.id
        assert made.title, made.id
        assert not made.title.endswith("."), made.id
        assert len(made.title) < 80, made.id
        assert made.level in LEVELS, made.id
        assert set(made.needs) <= set(CAPABILITIES), made.id


def test_each_contract_is_one_sentence():
    for made in ALL:
        assert made.contract.endswith("."), made.id
        assert not re.search(r"[.!?] [A-Z]", made.contract.replace("e.g. ", "")), made.id


def test_each_rests_on_a_quotation_or_nobody_is_held_to_a_promise():
    for made in ALL:
        for driver in drivers():
            bound = made.bound(driver)
            assert len(bound.quote) > 10 or bound.level != MUST, (made.id, driver)
            assert bound.url.startswith("https://") is bool(bound.quote), (made.id, driver)
        assert all(link.startswith("https://") for link in made.links), made.id


def test_each_source_text_can_be_shown():
    for made in ALL:
        assert made.source.strip(), made.id


def test_no_promise_is_without_a_scenario():
    written = tomllib.loads(PROMISES.read_text(encoding="utf-8"))
    assert set(written) - set(catalogue()) == {"texts"}


def test_a_quotation_binds_the_driver_that_made_it():
    made = catalogue()["CON-1"]
    assert (made.quote, made.level) == ("", "loud")
    assert made.bound("psycopg").level == catalogue("psycopg")["CON-1"].level == "must"
    assert "serialized" in made.bound("psycopg").quote
    assert (made.bound("asyncpg").level, made.bound("asyncodbc")) == ("loud", made)


def test_every_text_binds_somebody_and_every_driver_bound_is_one():
    written = tomllib.loads(PROMISES.read_text(encoding="utf-8"))
    bound = [each.get("by", {}) for name, each in written.items() if name != "texts"]
    assert {name for by in bound for name in by.values()} == set(written["texts"])
    assert {driver for by in bound for driver in by} <= set(drivers())


def test_remedies_cure_scenarios_that_take_a_way():
    for made in ALL:
        for cured in made.cures:
            assert cured in catalogue()
            names = catalogue()[cured].program.__code__.co_varnames
            assert "remedy" in names


def test_the_catalogue_is_in_the_order_of_families_and_numbers():
    identifiers = list(catalogue())
    families = [identifier.split("-")[0] for identifier in identifiers]
    assert families == sorted(families, key=list(FAMILIES).index)
    assert identifiers.index("NST-2") < identifiers.index("NST-8")
    assert identifiers.index("FIX-1a") < identifiers.index("FIX-1b") < identifiers.index("FIX-2a")


async def program(world):
    """A contract."""


async def without_contract(world):
    pass


def test_an_id_is_declared_once():
    with pytest.raises(ValueError, match="two scenarios are called CON-1"):
        scenario("CON-1", "again", level="must", needs=())(program)


def test_a_scenario_needs_a_contract():
    with pytest.raises(ValueError, match="CON-999 has no contract"):
        scenario("CON-999", "no words", level="must", needs=())(without_contract)
    assert "CON-999" not in registry._declared


def test_an_unknown_promise_is_empty():
    assert promise("CON-999") == {}


def test_why_a_scenario_does_not_apply():
    made = catalogue()["POOL-1"]
    assert made.unmet(frozenset({"pool"}), CAPABILITIES) is None
    assert made.unmet(frozenset(), CAPABILITIES) == CAPABILITIES["pool"]
    newer = type(made)(**{**{name: getattr(made, name) for name in made.__dataclass_fields__}, "python": (9, 9)})
    assert newer.unmet(frozenset({"pool"}), CAPABILITIES) == "needs Python 9.9"


def test_a_driver_that_lacks_something_for_a_reason_of_its_own_says_it():
    parts = SimpleNamespace(pooler=None)
    for own, said in (({}, CAPABILITIES["pool"]), ({"pool": "not with this release"}, "not with this release")):
        cell = SimpleNamespace(adapter=SimpleNamespace(capabilities=frozenset(), reasons=own), parts=parts)
        assert Cell.unmet(cell, catalogue()["POOL-1"]) == said
