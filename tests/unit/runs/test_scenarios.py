"""``scenarios`` and ``explain`` answer from what is on record; an unknown id is refused at once, in any command."""

import json

import pytest

from matrix.__main__ import main
from matrix.harness import known_schedules
from tests.unit.results.samples import header, scenario, write_cell


def test_a_family_in_any_case_is_listed_with_titles(capsys):
    assert main(["scenarios", "nst", "con-1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "CON-1    loud  Two overlapping reads on one connection"
    assert {line.split("-")[0] for line in lines} == {"CON", "NST"}
    assert main(["scenarios", "NST-4", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["id"] == "NST-4"
    assert told["contract"]


def test_a_scenario_is_explained_without_running_it(capsys, tmp_path):
    write_cell(tmp_path, header("mysql-aiomysql"), [scenario("NST-3"), scenario("NST-4", "lies", reason="seen here")])
    assert main(["explain", "nst-4", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for part in (
        "NST-4: ",
        "https://tortoise.github.io",
        "aiomysql   lies:",
        "mysql-aiomysql     lies: seen here",
        "FIX-2b",
    ):
        assert part in said
    assert main(["explain", "FIX-6", "--results", str(tmp_path / "none")]) == 0
    assert "Run over: NST-3" in capsys.readouterr().out


def test_remedies_that_hold_everywhere_stand_before_those_that_hold_nowhere(capsys, tmp_path):
    assert main(["explain", "NST-3", "--results", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    everywhere = said.index("(holds with every driver)")
    somewhere = said.index("FIX-4 One lock around what the children do (holds with aiosqlite, psycopg); its cost: ")
    nowhere = said.index("FIX-3c Start the task in an empty context (holds nowhere)")
    assert everywhere < somewhere < nowhere


def test_what_a_program_may_say_is_listed(capsys):
    assert main(["scenarios", "--program"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "session: One task of the program" in lines
    assert "  write(row)  Insert a row that nobody else inserts" in lines
    assert "  fill_orm_pool()  Let Tortoise open all its connections before the program starts, and give them" in lines
    assert not any("prove_hang" in line for line in lines)  # the harness's own


@pytest.mark.parametrize(
    "command",
    [
        ("scenarios", "NST-99"),
        ("explain", "NST-99"),
        ("bisect", "NST-99", "aiomysql"),
        ("reproduce", "--scenario", "NST-99"),
        ("replay", "mysql-aiomysql", "NST-99"),
        ("run", "sqlite-aiosqlite", "--only", "NST-99"),
    ],
)
def test_an_unknown_id_is_refused_at_once(command, capsys):
    assert main(list(command)) == 2
    said = capsys.readouterr().err
    assert "there is no scenario NST-99" in said
    assert "NST-4 " in said  # what there is


def test_a_family_is_no_scenario(capsys):
    assert main(["explain", "NST"]) == 2
    assert "give one scenario, such as NST-1" in capsys.readouterr().err


def test_replay_of_no_cell_says_which_there_are(capsys):
    assert main(["replay", "sqlite-foo", "NST-4"]) == 2
    assert "there is no driver foo; there are: aiosqlite" in capsys.readouterr().err


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("python -m matrix 0.")


@pytest.mark.parametrize(("asked", "said"), [("", "nothing was asked"), (" \n", "nothing was asked")])
def test_nothing_asked_is_told(asked, said, capsys):
    assert main(["explain", asked]) == 2
    assert capsys.readouterr().err.startswith(said)


def test_a_single_word_is_no_error_message(capsys):
    assert main(["explain", "Error"]) == 0
    assert "is shown in" not in capsys.readouterr().out


def test_an_error_as_it_was_pasted_says_what_to_write_instead(capsys):
    assert main(["explain", "InterfaceError: cannot perform operation: another operation is in progress"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "NST-3 Sibling tasks each open a nested transaction (breaks)" in text
    title = "gather() of tasks that each open a transaction inside a transaction"
    assert f"If you write this: {title} write instead: No nested blocks in children" in text
    assert "its cost: a child that fails cannot be rolled back by itself" in text


def test_an_error_message_leads_to_the_scenarios_whose_record_speaks_of_it(capsys):
    assert main(["explain", "readexactly() called while another"]) == 0
    said = capsys.readouterr().out.strip().splitlines()
    assert said[0].startswith(
        "`readexactly() called while another coroutine is already waiting for incoming data` (aiomysql"
    )
    assert said[1].startswith("  NST-3    Sibling tasks each open a nested transaction (lies)")
    assert any(line.startswith("CON-1    Two overlapping reads on one connection (aiomysql ") for line in said)
    assert "docs/errors.md" in said[-1]
    assert main(["explain", "no such words"]) == 2
    assert capsys.readouterr().err.startswith("nothing on record speaks of 'no such words'\n")


def test_a_scenario_that_nobody_has_measured_is_not_said_to_comply(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(known_schedules.is_measured, "__defaults__", (tmp_path / "schedules.json",))
    assert main(["explain", "NST-1", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "aiosqlite  nothing: it was not measured yet" in said
    assert "nothing: it complies" not in said
