"""Finds of generated programs: new ones are kept with their programs until a scenario stands for them."""

from __future__ import annotations

import json

import pytest

from matrix.results import documents, finds
from tests.unit.results.samples import header, scenario, write_cell
from tests.unit.results.test_cli import run  # noqa: F401  # a fixture

WHOLE = ("NST-3", "NST-4", "GEN-5")


def anomaly(verdict="breaks", *properties, **changes):
    return {
        "signature": f"{verdict}: {', '.join(properties)}",
        "verdict": verdict,
        "properties": list(properties),
        "programs": 13,
        "program": "async def program():\n    pass",
        "reason": "a task waits for ever",
        "finding": None,
        "schedule": "A.B",
        "known_by": [],
        "made_of": [],
        "found_by_generation": True,
        **changes,
    }


def cell(folder, *anomalies, shown=(), level="must", refused=""):
    known = [{"verdict": verdict, "properties": list(broken)} for verdict, broken in shown]
    orders = {"explored": 2, "possible": 2, "verdicts": {"safe": 2}}
    lines = [scenario("NST-3", orders={**orders, "anomalies": known})]
    if refused:
        lines[0] |= {"level": refused, "orders": {**orders, "verdicts": {"refuses": 2}, "anomalies": []}}
    generated = {"seed": 20261129, "programs": 1000, "anomalies": list(anomalies)}
    lines += [scenario("NST-4"), scenario("GEN-5", level=level, generated=generated)]
    write_cell(folder, header(planned=WHOLE), lines)
    return folder


@pytest.fixture
def night(run, tmp_path):  # noqa: F811
    """A night: its anomalies and what its scenarios show; gives what is printed and what is kept then."""

    def of(*anomalies, **known):
        folder = cell(tmp_path / "results", *anomalies, **known)
        code, out, _ = run("finds", folder, folder, "--kept", tmp_path / "finds.json")
        assert code == 0
        return out, json.loads((tmp_path / "finds.json").read_text())["finds"]

    return of


def test_a_find_is_kept_with_its_program_until_a_scenario_stands_for_it(night):
    told, kept = night(anomaly("breaks", "liveness"))
    assert "1 new finds, 1 kept" in told
    assert "**new**, 13 of 1000 programs of seed 20261129" in told
    assert "    async def program():" in told
    (find,) = kept
    assert (find["line"], find["program"], find["schedule"]) == ("GEN-5", "async def program():\n    pass", "A.B")
    assert (find["seed"], find["budget"]) == (20261129, 1000)
    told, again = night()  # another seed does not draw it
    assert "0 new finds, 1 kept" in told
    assert again == kept
    told, gone = night(shown=[("breaks", ["liveness"])])
    assert "0 new finds, 0 kept" in told
    assert "GEN-5 on mysql-aiomysql: breaks (liveness): NST-3 stands for it now" in told
    assert gone == [{**find, "scenarios": ["NST-3"]}]
    told, again = night(anomaly("breaks", "liveness"))  # it shows it no more
    assert "0 new finds, 1 kept" in told
    assert again == kept


def test_what_scenarios_show_is_no_find(night):
    assert night(anomaly("breaks", "liveness"), shown=[("breaks", ["liveness"])])[1] == []
    known = [("breaks", ["liveness"]), ("lies", ["durability"])]
    assert night(anomaly("lies", "liveness", "durability"), shown=known)[1] == []  # both in one program
    assert len(night(anomaly("lies", "liveness", "routing"), shown=known)[1]) == 1


def test_what_complies_is_no_find(night):
    assert night(anomaly("refuses"), level="loud")[1] == []
    assert len(night(anomaly("refuses"), level="must")[1]) == 1


def test_to_be_refused_is_shown_by_a_scenario_that_promised_not_to(night):
    assert len(night(anomaly("refuses"), refused="loud")[1]) == 1
    assert night(anomaly("refuses"), refused="must")[1][0]["scenarios"] == ["NST-3"]


def test_the_file_fits_its_schema(night, tmp_path):
    night(anomaly("breaks", "liveness"))
    assert documents.read(tmp_path / "finds.json", "finds")["finds"][0]["budget"] == 1000


def test_found_twice_it_is_told_as_it_was_first(night):
    _, first = night(anomaly("breaks", "liveness"))
    assert night(anomaly("breaks", "liveness", schedule="B.A"))[1] == first


def test_a_cell_whose_scenarios_did_not_run_says_nothing(run, tmp_path):  # noqa: F811
    generated = cell(tmp_path / "generated", anomaly("breaks", "liveness"))
    (tmp_path / "none").mkdir()
    code, out, errors = run("finds", generated, tmp_path / "none", "--kept", tmp_path / "finds.json")
    assert (code, "0 new finds" in out) == (0, True)
    assert errors.startswith("mysql-aiomysql: left out")


@pytest.mark.parametrize("text", ["", "[]", '{"finds": [1]}', '{"finds": [{}]}'])
def test_a_spoiled_file_is_named(run, tmp_path, text):  # noqa: F811
    folder = cell(tmp_path / "results")
    (tmp_path / "finds.json").write_text(text)
    code, _, errors = run("finds", folder, folder, "--kept", tmp_path / "finds.json")
    assert code == 2
    assert errors.count("\n") == 1
    assert "no file of finds" in errors
    with pytest.raises(finds.FindsError):
        finds.read_finds(tmp_path / "finds.json")
