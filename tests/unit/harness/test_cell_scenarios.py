"""A scenario over the databases of a cell: which of them it is run on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from matrix.harness import cell_scenarios
from matrix.harness.result_lines import without_verdict
from matrix.harness.scenario import Scenario

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("needs", "databases"), [(("pool",), ["postgres", "sqlite"]), (("pool", "server"), ["postgres"])]
)
async def test_a_scenario_about_the_server_leaves_a_cell_s_library_out(monkeypatch, needs, databases):
    async def judged(runner, scenario, catalogue, plain):
        assert runner.database == runner.backing.kind
        return {**without_verdict(scenario, "safe", ""), "seconds": 1.0, "schedule": f"A.{runner.backing.kind}"}

    monkeypatch.setattr(cell_scenarios, "_run", judged)
    adapter = SimpleNamespace(isolated=False, orders=1, steps=None)
    backings = [
        SimpleNamespace(kind="postgres", server_address=("127.0.0.1", 1)),
        SimpleNamespace(kind="sqlite", server_address=None),
    ]
    cell = SimpleNamespace(adapter=adapter, backings=backings, unmet=lambda scenario: None)
    made = Scenario("POOL-0", "made up", "Made up.", "must", needs, None, False, (3, 10), None, "", "", ())
    line = await cell_scenarios.run(cell, made, {}, {}, 1)
    assert line["verdict"] == "safe"
    assert line["seconds"] == len(databases)
    assert list(line.get("variants", databases)) == databases
    if len(databases) > 1:
        assert line["schedules"] == {kind: f"A.{kind}" for kind in databases}


async def test_a_line_of_several_databases_says_of_each_how_its_runs_failed_and_were_made_again():
    made = Scenario("POOL-0", "made up", "Made up.", "must", (), None, False, (3, 10), None, "", "", ())
    safe = {**without_verdict(made, "safe", ""), "seconds": 1.0, "schedule": "A.B", "depth": "full", "finding": None}
    ran = {"explored": 3, "verdicts": {"safe": 3}, "possible": None}
    lines = {
        "postgres": {**safe, "orders": ran},
        "mariadb": {**safe, "orders": {**ran, "made_again": ["ValueError", "OSError"]}},
        "sqlite": {**safe, "orders": None},
    }
    assert cell_scenarios.merge(lines)["orders"] == {**ran, "made_again": ["mariadb: ValueError", "mariadb: OSError"]}
    assert "made_again" not in ran
