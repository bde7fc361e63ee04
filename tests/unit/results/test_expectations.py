"""The bookkeeping of expectations: what is on record cannot rot in either direction."""

from __future__ import annotations

import json

import pytest

from matrix.harness import cell_name
from matrix.harness.drivers import drivers
from matrix.results import expectations, judging
from matrix.results.expectations import ExpectationError, TwoEntries, expected, load
from matrix.results.judging import expectation_of, judge
from matrix.words import VERDICTS
from tests.unit.results.samples import header, remedy, scenario

BASE = {"verdict": '"lies"', "reason": '"Because."', "category": '"orm"', "scenarios": '["NST-4"]'}


def entry(**changes):
    fields = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    return "[[expect]]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())


@pytest.fixture
def entries(tmp_path):
    def write(*texts):
        path = tmp_path / "aiomysql.toml"
        path.write_text("".join(texts), "utf-8")
        return load(path)

    return write


def kinds(lines, entries=(), head=None):
    return [unmet.kind for unmet in judge(lines, entries, head or header(planned=["NST-4"]))]


def test_a_verdict_seen_as_well_is_no_surprise_and_any_other_is(entries):
    either = entries(entry(verdict='"breaks"', also='["safe"]', category='"driver"'))
    assert kinds([scenario("NST-4", verdict="safe")], either) == []
    assert kinds([scenario("NST-4", verdict="breaks")], either) == []
    assert kinds([scenario("NST-4", verdict="refuses")], either) != []
    assert kinds([scenario("NST-4", verdict="lies")], either) == ["worse"]


# Files


def test_an_entry_is_read_with_everything_it_says(entries):
    (found,) = entries(entry(server='"mysql"', versions='{ aiomysql = ">=0.3" }', link='"https://example.org"'))
    assert (found.number, found.scenarios, found.words) == (1, ("NST-4",), "lies")
    assert found.range == "mysql, aiomysql >=0.3"


def test_no_file_is_no_entries(tmp_path):
    assert load(tmp_path / "none.toml") == ()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"reason": None}, "'reason' is missing"),
        ({"reason": '"  "'}, "'reason' is missing"),
        ({"category": None}, "'category' is missing"),
        ({"category": '"luck"'}, "unknown category 'luck'"),
        ({"verdict": '"fine"'}, "unknown verdict 'fine'"),
        ({"verdict": '"error"'}, "unknown verdict 'error'"),
        ({"verdict": None}, "neither 'verdict' nor 'remedy'"),
        ({"verdict": "1"}, "'verdict' has to be a text"),
        ({"remedy": '"cures"'}, "unknown remedy 'cures'"),
        ({"also": '["safe"]'}, "'also' goes with a verdict and category driver"),
        ({"also": '["perhaps"]', "category": '"driver"'}, "'also' has to be a list of verdicts"),
        ({"server": '"mysqll"'}, "unknown server"),
        ({"scenarios": None}, "'scenarios' is missing"),
        ({"scenarios": "[]"}, "'scenarios' is missing"),
        ({"scenarios": '["nst4"]'}, "not a scenario id"),
        ({"scenarios": '["NST-4", "NST-4"]'}, "twice"),
        ({"versions": '{ aiomysql = "new" }'}, "version range 'new'"),
        ({"versions": "{ aiomysql = 3 }"}, "version range 3"),
        ({"versions": '"all"'}, "'versions' has to be a table"),
        ({"link": '"javascript:alert(1)"'}, "'link' has to begin"),
        ({"verdct": '"lies"'}, "unknown key 'verdct'"),
    ],
)
def test_a_bad_entry_is_named_with_file_and_number(entries, changes, text):
    with pytest.raises(ExpectationError) as caught:
        entries(entry(), entry(**changes))
    assert "aiomysql.toml: entry 2: " in str(caught.value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[[expect", "expect = 1", "[expect]\na = 1", "[other]\n"])
def test_a_bad_file_is_named(entries, text):
    with pytest.raises(ExpectationError, match=r"aiomysql\.toml"):
        entries(text)


def test_a_driver_that_is_a_path_has_no_file(tmp_path):
    with pytest.raises(ExpectationError):
        expectations.load_driver("../../x", tmp_path)


# Matching


@pytest.mark.parametrize(
    ("limit", "matches"),
    [
        ({}, True),
        ({"server": '"mysql"'}, True),
        ({"server": '"mariadb"'}, False),
        ({"versions": '{ aiomysql = ">=0.3" }'}, True),
        ({"versions": '{ aiomysql = ">=0.4" }'}, False),
        ({"versions": '{ tortoise = ">=1.0", mysql = ">=9", python = ">=3.11" }'}, True),
        ({"versions": '{ mariadb = ">=1" }'}, False),
        ({"versions": '{ pymysql = "<2" }'}, True),
        ({"versions": '{ tortoise = "<1" }'}, False),
    ],
)
def test_server_and_versions_limit_an_entry(entries, limit, matches):
    found = expected(entries(entry(**limit)), "NST-4", header()["axes"], header()["packages"])
    assert (found is not None) is matches


@pytest.mark.parametrize("version", ["10.11.19-MariaDB-0+deb12u1", "10.11.19", "10.11.19rc1"])
def test_a_servers_own_version_string_is_understood(entries, version):
    axes = header("mariadb-aiomysql", axes={"server_version": version})["axes"]
    assert expected(entries(entry(versions='{ mariadb = ">=10.11,<11" }')), "NST-4", axes)


def test_two_entries_for_one_scenario_are_an_error(entries):
    both = entries(entry(), entry(server='"mysql"'))
    with pytest.raises(TwoEntries, match="entries 1 and 2"):
        expected(both, "NST-4", header()["axes"])
    assert kinds([scenario(verdict="lies")], both) == ["two entries"]


# Judging


@pytest.mark.parametrize(
    ("verdict", "level", "unmet"),
    [
        ("safe", "must", []),
        ("refuses", "must", ["worse"]),
        ("refuses", "loud", []),
        ("breaks", "loud", ["worse"]),
        ("safe", "info", []),
        ("refuses", "info", ["worse"]),
        ("n/a", "must", []),
        ("error", "must", ["error"]),
        ("not run", "must", ["not run"]),
    ],
)
def test_without_an_entry_a_scenario_is_expected_to_comply(verdict, level, unmet):
    assert kinds([scenario(verdict=verdict, level=level)]) == unmet


@pytest.mark.parametrize(
    ("verdict", "unmet"),
    [
        ("hangs", []),
        ("poisons", ["worse"]),
        ("lies", ["worse"]),
        ("breaks", ["better"]),
        ("safe", ["better"]),
        ("error", ["error"]),
        ("n/a", ["does not apply"]),
    ],
)
def test_an_entry_is_met_by_its_verdict_only(entries, verdict, unmet):
    assert kinds([scenario(verdict=verdict)], entries(entry(verdict='"hangs"'))) == unmet


def test_a_better_verdict_asks_for_an_update(entries):
    (unmet,) = judge([scenario(verdict="safe")], entries(entry()), header(planned=["NST-4"]))
    assert "unexpectedly better: update the expectation" in str(unmet)
    assert "aiomysql.toml, entry 1" in str(unmet)


def test_info_with_an_entry_is_met(entries):
    assert kinds([scenario(verdict="lies", level="info")], entries(entry())) == []


def test_an_entry_that_names_no_scenario_is_unmet(entries):
    assert kinds([scenario()], entries(entry(scenarios='["NST-99"]'))) == ["unknown scenario"]


def test_a_selection_of_scenarios_knows_the_whole_catalogue(entries):
    head = header(planned=["NST-4"], catalogue=["NST-4", "NST-5"])
    assert kinds([scenario()], entries(entry(scenarios='["NST-5"]')), head) == []


def test_an_entry_on_an_unknown_package_is_unmet(entries):
    found = kinds([scenario(verdict="lies")], entries(entry(versions='{ tortoize = ">=1" }')))
    assert found == ["unknown name", "worse"]


def test_an_entry_for_other_versions_is_pointed_at(entries):
    (unmet,) = judge(
        [scenario(verdict="lies")], entries(entry(versions='{ aiomysql = ">=9" }')), header(planned=["NST-4"])
    )
    assert "entries that cover NST-4 elsewhere: 1 (aiomysql >=9)" in str(unmet)


def test_a_planned_scenario_without_a_line_is_unmet():
    assert kinds([scenario()], head=header(planned=["NST-3", "NST-4"])) == ["not run"]


def test_an_entry_for_no_cell_at_all_is_found(entries):
    found = entries(entry(versions='{ aiomysql = ">=9" }'), entry(scenarios='["NST-3"]'))
    (unmet,) = judging.without_cell(found, [header()])
    assert unmet.kind == "no cell"


@pytest.mark.parametrize(
    ("record_on", "word", "unmet"),
    [
        (None, "holds", []),
        (None, "partly", ["remedy worse"]),
        ({"remedy": '"fails"', "verdict": None}, "fails", []),
        ({"remedy": '"fails"', "verdict": None}, "worse", ["remedy worse"]),
        ({"remedy": '"fails"', "verdict": None}, "partly", ["remedy better"]),
        ({"remedy": '"fails"'}, "fails", []),
        ({"remedy": '"fails"', "verdict": '"hangs"'}, "fails", ["worse"]),
        ({}, "fails", ["remedy worse"]),
    ],
)
def test_remedies_are_judged_by_their_word(entries, record_on, word, unmet):
    found = () if record_on is None else entries(entry(scenarios='["FIX-1a"]', **record_on))
    assert kinds([remedy(word=word)], found, header(planned=["FIX-1a"])) == unmet


def test_an_entry_on_a_remedy_for_a_scenario_without_one_is_unmet(entries):
    assert kinds([scenario()], entries(entry(verdict=None, remedy='"fails"'))) == ["remedy worse"]


def test_the_record_of_a_line(entries):
    found = expectation_of(scenario(verdict="lies"), entries(entry()), header())
    assert found == {"verdict": "lies", "met": True, "reason": "Because.", "category": "orm", "link": None}
    assert expectation_of(scenario(), (), header()) is None
    assert expectation_of(scenario(verdict="lies"), (), header())["met"] is False


def test_hostile_reasons_stay_on_one_harmless_line():
    (unmet,) = judge([scenario(verdict="lies", reason="a\n\x1b[31mb")], (), header(planned=["NST-4"]))
    assert "\n" not in str(unmet)
    assert "\x1b" not in str(unmet)


def lying(*properties):
    violations = [{"property": name, "sentence": "So it was."} for name in properties]
    return [scenario("NST-4", verdict="lies", violations=violations)]


def test_a_reason_that_rests_on_what_the_deciding_run_does_not_violate_is_red(entries):
    resting = entries(entry(rests='["atomicity"]'))
    assert kinds(lying("atomicity", "recovery"), resting) == []
    (unmet,) = judge(lying("routing"), resting, header(planned=["NST-4"]))
    assert unmet.kind == "reason"
    assert "rests on atomicity, which the deciding run does not violate" in unmet.text


def test_a_reason_is_held_to_its_own_verdict_only(entries):
    resting = entries(entry(rests='["atomicity"]', also='["safe"]', category='"driver"'))
    assert kinds([scenario("NST-4", verdict="safe", violations=[])], resting) == []
    assert kinds(lying("routing"), resting) == []  # a race comes to the same word in several ways


def test_a_cell_of_other_releases_may_show_the_same_word_in_another_way(on_record):
    found = on_record({"NST-3": "safe"}, entry(rests='["atomicity"]'))
    assert kinds([scenario("NST-3", "safe"), *lying("routing")], found, old()) == []


@pytest.mark.parametrize("changes", [{"rests": '["honesty"]'}, {"rests": '"atomicity"'}])
def test_what_a_reason_rests_on_are_properties(entries, changes):
    with pytest.raises(ExpectationError, match="'rests' has to be a list of properties"):
        entries(entry(**changes))


def test_every_reason_in_the_tree_says_what_it_rests_on():
    for driver in drivers():
        for each in expectations.load_driver(driver):
            if each.verdict in VERDICTS[2:] and not each.cell and not each.scenarios[0].startswith("FIX"):
                assert each.rests, each.where


def test_how_often_each_racing_word_was_seen_is_on_record(entries):
    racing = {"verdict": '"breaks"', "also": '["safe"]', "category": '"driver"'}
    (counted,) = entries(entry(**racing, seen="{ breaks = 3, safe = 17 }"))
    found = expectation_of(scenario("NST-4", verdict="safe"), [counted], header(planned=["NST-4"]))
    assert found["also"] == {"breaks": 3, "safe": 17}
    found = expectation_of(scenario("NST-4", verdict="safe"), entries(entry(**racing)), header(planned=["NST-4"]))
    assert found["also"] == {"breaks": None, "safe": None}
    with pytest.raises(ExpectationError, match="'seen' has to say"):
        entries(entry(**racing, seen="{ breaks = 3 }"))


def test_an_entry_for_other_pythons_has_a_cell(entries):
    found = entries(entry(versions='{ python = "<3.0" }'))
    assert judging.without_cell(found, [header()]) == []


def test_the_expectations_in_the_tree_can_be_read():
    for path in expectations.FOLDER.glob("*.toml"):
        load(path)


def test_what_a_default_cell_shows_is_on_record_whichever_python_runs_it():
    """``tox`` takes the Python at hand: what depends on it alone is an entry with a range, never of one cell."""
    found = expectations.read_variants(expectations.FOLDER / expectations.VARIANTS)
    oldest = expectations.lenient_version("3.11")
    for cell, words in found.items():
        name = cell_name.parse(cell)
        if name.python and str(name) == f"{name.base}-py{name.python.replace('.', '')}":
            assert not words or expectations.lenient_version(name.python) < oldest, cell


def test_a_cell_of_other_releases_is_reported_and_only_an_error_counts():
    old = header(cell="mysql-aiomysql") | {"cell": "mysql-aiomysql-tortoise0.23"}
    worse, wrong = scenario("NST-3", "lies"), scenario("NST-4", "error")
    assert judging.judge_line(worse, (), old) == []
    assert judging.expectation_of(worse, (), old) is None
    assert [unmet.kind for unmet in judging.judge([worse, wrong], (), old)] == ["error"]
    newest = header(cell="mysql-aiomysql")
    assert [unmet.kind for unmet in judging.judge([worse], (), newest | {"planned": ["NST-3"]})] == ["worse"]


# Cells of other releases, as the whole plan recorded them (variants.json)

OLD = "mysql-aiomysql-tortoise0.23"


def old(planned=("NST-3", "NST-4"), **changes):
    return header(planned=planned, depth="record") | {"cell": OLD} | changes


@pytest.fixture
def on_record(tmp_path):
    """``on_record(words, entries)`` -> what a cell of the driver is held to."""

    def write(words, *texts):
        (tmp_path / "aiomysql.toml").write_text("".join(texts), "utf-8")
        other = {"mysql-asyncmy-tortoise0.23": {"NST-3": "hangs"}}
        (tmp_path / "variants.json").write_text(json.dumps({**other, OLD: words}), "utf-8")
        return expectations.load_driver("aiomysql", tmp_path)

    return write


def test_a_cell_on_record_is_held_to_its_own_words_and_for_the_rest_to_the_entries_for_all(on_record):
    found = on_record({"NST-3": "safe"}, entry(scenarios='["NST-3", "NST-4"]'))
    assert kinds([scenario("NST-3", "safe"), scenario("NST-4", "lies")], found, old()) == []
    assert kinds([scenario("NST-3", "lies"), scenario("NST-4", "safe")], found, old()) == ["worse", "better"]
    newest = header(planned=["NST-3", "NST-4"])
    assert kinds([scenario("NST-3", "lies"), scenario("NST-4", "lies")], found, newest) == []


def test_ranges_of_versions_are_for_cells_on_record_too(on_record):
    found = on_record({}, entry(versions='{ tortoise = ">=1.0" }'))
    line, axes = scenario("NST-4", "safe"), {**header()["axes"], "tortoise": "0.23.0"}
    assert kinds([line], found, old(["NST-4"], axes=axes)) == []
    assert kinds([line], found, old(["NST-4"])) == ["better"]


def test_a_cell_that_is_not_on_record_or_was_run_otherwise_is_reported(on_record):
    found = on_record({"NST-3": "safe"})
    lines = [scenario("NST-3", "lies"), scenario("NST-4", "lies")]
    assert kinds(lines, found, old(cell="mysql-aiomysql-tortoise0.22")) == []
    assert kinds(lines, found, old(depth="full")) == []
    assert expectation_of(lines[0], found, old(depth="full")) is None


def test_remedies_on_record_have_the_remedys_word(on_record):
    found = on_record({"FIX-1a": "partly"})
    assert kinds([remedy(word="partly")], found, old(["FIX-1a"])) == []
    assert kinds([remedy(word="holds")], found, old(["FIX-1a"])) == ["remedy better"]
    assert kinds([remedy(word="worse")], found, old(["FIX-1a"])) == ["remedy worse"]


def test_what_did_not_apply_and_now_does_is_told(on_record):
    found = on_record({"NST-4": "n/a"}, entry())
    assert kinds([scenario("NST-4", "n/a")], found, old(["NST-4"])) == []
    assert kinds([scenario("NST-4", "safe")], found, old(["NST-4"])) == ["better"]
    assert kinds([scenario("NST-4", "lies")], found, old(["NST-4"])) == ["worse"]


def test_a_cell_that_could_be_had_or_not_is_on_record_as_well(on_record):
    absent, lines = old([]), [scenario("NST-3"), scenario("NST-4")]
    assert kinds([], on_record(None), absent) == []
    assert kinds(lines, on_record(None), old()) == ["better"]
    assert kinds([], on_record({}), absent) == ["worse"]
    assert kinds(lines, on_record({}), old()) == []


def test_a_newest_cell_that_cannot_be_had_is_never_green():
    assert kinds([], (), header(planned=[])) == ["not run"]


def test_a_scenario_on_record_that_does_not_exist_is_told(on_record):
    lines = [scenario("NST-3"), scenario("NST-4")]
    assert kinds(lines, on_record({"NST-99": "safe"}), old()) == ["unknown scenario"]


def test_the_record_of_a_cell_is_what_differs_from_the_entries_for_all(on_record):
    found = on_record({"NST-3": "hangs"}, entry(scenarios='["NST-3", "NST-4", "NST-5"]'))
    lines = [
        scenario("NST-3", "safe"),
        scenario("NST-4", "lies"),
        scenario("NST-5", "n/a"),
        scenario("NST-6", "breaks"),
    ]
    lines += [scenario("NST-7"), scenario("NST-8", "error"), remedy(word="partly")]
    made = judging.deviations(lines, found, old())
    assert made == {"NST-3": "safe", "NST-5": "n/a", "NST-6": "breaks", "FIX-1a": "partly"}
    assert judging.deviations([], found, old([])) is None
    again = on_record(made, entry(scenarios='["NST-3", "NST-4", "NST-5"]'))
    assert kinds([line for line in lines if line["verdict"] != "error"], again, old()) == []


def test_the_page_says_what_is_on_record(on_record):
    told = expectation_of(scenario("NST-3", "safe"), on_record({"NST-3": "safe"}, entry(scenarios='["NST-3"]')), old())
    assert told == {"verdict": "safe", "met": True, "reason": expectations.ON_RECORD, "category": None, "link": None}


@pytest.mark.parametrize("text", ["[1]", "{", '{"mysql-aiomysql-py312": {"NST-3": "fine"}}', '{"mysql-aiomysql": 3}'])
def test_a_broken_record_is_one_line(tmp_path, text):
    (tmp_path / "variants.json").write_text(text)
    with pytest.raises(ExpectationError) as problem:
        expectations.load_driver("aiomysql", tmp_path)
    assert "\n" not in str(problem.value)
