"""The plan: which cells, why, filters, shards."""

import json
from collections import Counter

import pytest

from matrix.__main__ import parser as cli
from matrix.harness import known_schedules
from matrix.harness.drivers import bases, drivers
from matrix.runs import plan, releases, run
from matrix.runs.cells import parse, read
from matrix.runs.plan import PlanError, Planned, select, shard
from tests.unit.results import samples

HAND = ["3.10", "3.11", "3.12", "3.13"]


@pytest.fixture(scope="module")
def whole():
    return plan.plan(releases.load(), "3.11", HAND, {"mysql-aiomysql": 8.0})


def test_the_whole_plan_has_at_least_110_cells_each_once_and_each_valid(whole):
    names = [each.cell for each in whole]
    assert len(names) >= 110
    assert len(set(names)) == len(names)
    assert [str(read(name)) for name in names] == names


def test_the_newest_releases_come_first_of_each_and_are_the_default_cells(whole):
    assert [each.cell for each in whole if each.axis == "newest"] == bases()


def test_every_tortoise_of_the_policy_meets_every_driver_that_tortoise_has(whole):
    tortoise = releases.load().of("tortoise-orm")
    older = {tortoise.label(each.version) for each in tortoise.tested if each.version != tortoise.newest}
    seen = Counter((each.name.base, each.name.tortoise) for each in whole if each.name.tortoise)
    orm = [base for base in bases() if drivers()[base.partition("-")[2]].orm]
    assert seen == {(base, label): 1 for base in orm for label in older}


def test_a_release_without_wheels_for_the_usual_python_gets_one_that_it_has(whole):
    cells = {each.cell for each in whole}
    assert "mysql-asyncmy0.2.5-py310" in cells  # its last wheels are for 3.10
    assert "mysql-asyncmy0.2.17" in cells
    assert "mysql-aiomysql-py311" not in cells  # that is what the bare cell has


def test_eager_tasks_run_where_there_are_any(whole):
    eager = {each.cell for each in whole if each.name.loop == "eager"}
    assert eager == {f"{base}-py312-eager" for base in bases()}
    newer = plan.plan(releases.load(), "3.13", HAND, {})
    assert {each.cell for each in newer if each.name.loop == "eager"} == {f"{base}-eager" for base in bases()}


def test_what_comes_by_an_address_only_is_planned_and_left_out_until_it_is_named(run):
    cells = ["mysql-aiomysql-mysql8.0", "mysql-aiomysql-mysql8.4", "mysql-asyncmy-mysql8.0", "mysql-asyncmy-mysql8.4"]

    def planned(*filters):
        done = run("plan", *filters, "--json")
        return [each["cell"] for each in json.loads(done.stdout)["cells"]], done.stderr

    found, said = planned("mysql-*")
    assert "mysql-aiomysql" in found
    assert set(found) & set(cells) == set()
    assert "left out: mysql 8.0, of which there is no package: give the address of one in MATRIX_MYSQL_URL" in said
    assert "ask for 'mysql-*-mysql8.4'" in said
    assert sorted(planned("axis:address")[0]) == cells
    assert planned("mysql-*-mysql8.0")[0] == [cells[0], cells[2]]
    refused = run("plan", "axis:address", "mysql-*", "python:3.10")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_each_way_that_a_driver_has_to_a_server_is_a_cell(whole):
    ways = {each.cell for each in whole if each.axis == "way"}
    assert ways == {f"{base}-{way}" for base in bases() for way in drivers()[base.partition("-")[2]].ways}
    assert {"postgres-asyncpg-pgbouncer1.18-uniquenames", "mariadb-asyncmy-tls"} <= ways


def test_costs_are_those_measured_of_the_base_cell(whole):
    costs = {each.cell: each.seconds for each in whole}
    assert costs["mysql-aiomysql-tortoise0.23"] == 8.0 + plan.OVERHEAD
    assert costs["sqlite-aiosqlite"] == plan.UNKNOWN_COST + plan.OVERHEAD


def test_a_server_has_a_cell_for_each_version_but_the_newest_which_the_bare_cell_has(whole):
    servers = releases.load().servers
    seen = Counter((each.name.base, each.name.server_version) for each in whole if each.axis == "server")
    assert seen == {(base, v): 1 for base in bases() for v in servers.get(base.partition("-")[0], ())[:-1]}


def test_a_given_server_has_one_version(run):
    done = run("plan", "axis:server", "axis:newest", "--json")
    assert any(each["axis"] == "server" for each in json.loads(done.stdout)["cells"])
    given = {"MATRIX_POSTGRES_URL": "postgres://user:password@localhost/"}
    done = run("plan", "axis:server", "axis:newest", "--json", environment=given)
    assert "other versions of postgres, because MATRIX_POSTGRES_URL says which" in done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert {each["server"] for each in cells if each["axis"] == "server"} == {"mariadb"}
    assert "postgres-asyncpg" in {each["cell"] for each in cells}


def test_a_cell_that_was_measured_costs_what_it_took():
    known = {"mysql-aiomysql-*": 12.0, "mysql-aiomysql-tortoise0.23": 30.0}
    made = {each.cell: each.seconds for each in plan.plan(releases.load(), "3.11", HAND, known)}
    assert made["mysql-aiomysql-tortoise0.23"] == 30.0 + plan.OVERHEAD
    assert made["mysql-aiomysql-tortoise0.22"] == 12.0 + plan.OVERHEAD


def test_cells_of_other_releases_cost_what_such_cells_took():
    made = plan.plan(releases.load(), "3.11", HAND, {"mysql-aiomysql": 50.0, "mysql-aiomysql-*": 12.0})
    costs = {each.cell: each.seconds - plan.OVERHEAD for each in made}
    assert (costs["mysql-aiomysql"], costs["mysql-aiomysql-tortoise0.23"]) == (50.0, 12.0)


@pytest.mark.parametrize(
    ("asked", "arguments"),
    [
        (["--all"], {"newest": (), "tortoise": ("--brief",)}),
        (["--all", "--full"], {"newest": (), "tortoise": ()}),
        (["--all", "--orders", "3"], {"newest": ("--orders", "3"), "tortoise": ("--orders", "3")}),
        (["mysql-aiomysql-tortoise0.23"], {"tortoise": ()}),
    ],
)
def test_what_is_there_for_comparison_asks_the_record_first(asked, arguments):
    options = cli().parse_args(["run", *asked])
    cells = {"newest": "mysql-aiomysql", "tortoise": "mysql-aiomysql-tortoise0.23"}
    jobs = {job.cell: job.arguments for job in run.jobs_of(options, lambda text: None)}
    assert {axis: jobs[cells[axis]] for axis in arguments} == arguments


def test_filters_of_one_key_are_alternatives_and_of_different_keys_must_all_match(whole):
    assert {e.name.driver for e in select(whole, ["driver:aiomysql", "driver:asyncmy"])} == {"aiomysql", "asyncmy"}
    both = select(whole, ["axis:tortoise", "server:mysql"])
    assert {(each.axis, each.name.server) for each in both} == {("tortoise", "mysql")}
    assert [each.cell for each in select(whole, ["sqlite-aiosqlite"])] == ["sqlite-aiosqlite"]
    assert all(each.cell.startswith("mysql-") for each in select(whole, ["mysql-*"]))
    assert {each.name.tortoise for each in select(whole, ["tortoise:newest"])} == {None}


@pytest.mark.parametrize(
    ("filters", "says"), [(["nothing"], "no cell of the plan"), (["colour:red"], "unknown filter")]
)
def test_a_filter_that_finds_nothing_is_an_error(whole, filters, says):
    with pytest.raises(PlanError, match=says):
        select(whole, filters)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 200])
def test_shards_are_a_partition_of_about_equal_cost(whole, count):
    shards = [shard(whole, index, count) for index in range(1, count + 1)]
    assert sorted(each.cell for part in shards for each in part) == sorted(each.cell for each in whole)
    loads = [sum(each.seconds for each in part) for part in shards]
    assert max(loads) - min(loads) <= max(each.seconds for each in whole)


def test_shards_do_not_depend_on_the_order_of_the_plan(whole):
    assert {e.cell for e in shard(whole, 2, 3)} == {e.cell for e in shard(whole[::-1], 2, 3)}


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "a/b", "1/0", "-1/3"])
def test_a_shard_that_is_none_is_told(text):
    with pytest.raises(PlanError, match="is no shard"):
        plan.read_shard(text)


def test_a_prerelease_can_be_left_out():
    early = Planned(parse("mysql-aiomysql-tortoise2.0.0rc1"), "tortoise", 1.0, prerelease=True)
    late = Planned(parse("mysql-aiomysql"), "newest", 1.0)
    assert select([early, late], ["prerelease:no"]) == [late]
    assert select([early, late], ["prerelease:yes"]) == [early]


def test_the_command_tells_programs_the_cells_and_the_shards(run, tmp_path):
    output = tmp_path / "output"
    done = run("plan", "--json", "--shards", "3", "--output", output, "axis:newest")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [each["cell"] for each in told["cells"]] == bases()
    assert told["count"] == len(bases())
    assert told["shards"] == ["1/3", "2/3", "3/3"]
    assert output.read_text() == f'count={len(bases())}\nshards=["1/3", "2/3", "3/3"]\n'


def test_a_measured_run_is_kept_as_costs_and_as_the_record_of_its_cells(tmp_path, monkeypatch):
    kept = tmp_path / "variants.json"
    gone, elsewhere = "sqlite-aiosqlite0.1", "sqlite-aiosqlite-py399"
    kept.write_text(json.dumps({gone: {}, elsewhere: {}, "sqlite-aiosqlite0.17": {"NST-3": "lies"}}))
    monkeypatch.setattr(plan, "VARIANTS", kept)
    header, whole = samples.header("sqlite-aiosqlite"), {"depth": "record"}
    lines = [samples.scenario("NST-9", "safe"), samples.scenario("NST-99", "lies")]  # NST-9 lies with the newest
    for cell in ("sqlite-aiosqlite0.20", "sqlite-aiosqlite0.21"):
        effort = whole if cell.endswith("0.20") else {}  # the other one ran all orders
        samples.write_cell(
            tmp_path / "results", header | effort | {"cell": cell, "planned": ["NST-9", "NST-99"]}, lines
        )
    samples.write_cell(tmp_path / "results", header | {"planned": ["NST-9", "NST-99"]}, lines)
    planned = {"sqlite-aiosqlite0.17", "sqlite-aiosqlite0.20"}
    assert plan.variants(str(tmp_path / "results"), planned, HAND) == {
        elsewhere: {},
        "sqlite-aiosqlite0.17": {"NST-3": "lies"},
        "sqlite-aiosqlite0.20": {"NST-9": "safe", "NST-99": "lies"},
    }
    costs = plan.measured(str(tmp_path / "results"))
    assert sorted(costs) == ["sqlite-aiosqlite", "sqlite-aiosqlite-*", "sqlite-aiosqlite0.20"]
    monkeypatch.setattr(known_schedules, "FILE", tmp_path / "schedules.json")
    known_schedules.FILE.write_text(json.dumps({gone: {}, elsewhere: {}}))
    planned |= {"sqlite-aiosqlite"}
    entries = plan.known_schedules_of(str(tmp_path / "results"), planned, HAND)
    assert sorted(entries) == ["sqlite-aiosqlite", elsewhere, "sqlite-aiosqlite0.20"]
    planned |= {"sqlite-aiosqlite0.21"}  # of the plan: what all orders have found is asked in brief too
    assert "sqlite-aiosqlite0.21" in plan.known_schedules_of(str(tmp_path / "results"), planned, HAND)
    assert entries["sqlite-aiosqlite"]["NST-99"]["verdict"] == "lies"
    assert entries["sqlite-aiosqlite0.20"] == {}  # as with the newest releases


def test_of_a_selection_what_was_run_takes_the_place_of_what_is_on_record(tmp_path, monkeypatch):
    cell, kept = "sqlite-aiosqlite0.20", tmp_path / "variants.json"
    kept.write_text(json.dumps({cell: {"NST-3": "lies", "NST-99": "lies"}}))
    monkeypatch.setattr(plan, "VARIANTS", kept)
    names = ["NST-9", "NST-99"]
    header = samples.header("sqlite-aiosqlite") | {"cell": cell, "planned": names, "catalogue": ["NST-3", *names]}
    lines = [samples.scenario("NST-9", "safe"), samples.scenario("NST-99", "safe")]  # NST-9 lies with the newest
    samples.write_cell(tmp_path / "results", header | {"depth": "record"}, lines)
    assert plan.variants(str(tmp_path / "results"), {cell}, HAND) == {cell: {"NST-3": "lies", "NST-9": "safe"}}
    kept.write_text("{}")
    assert plan.variants(str(tmp_path / "results"), {cell}, HAND) == {}


def test_what_is_measured_is_written_with_a_line_for_each_entry(tmp_path, monkeypatch):
    cell, lines = "sqlite-aiosqlite", [samples.scenario("NST-3"), samples.scenario("NST-4", "lies")]
    samples.write_cell(tmp_path / "results", samples.header(cell), lines)
    for holder, name in ((plan, "COSTS"), (known_schedules, "FILE"), (plan, "VARIANTS")):
        monkeypatch.setattr(holder, name, tmp_path / f"{name}.json")
    plan._measure(str(tmp_path / "results"))
    read = json.loads(known_schedules.FILE.read_text("utf-8"))
    assert [*read[cell]] == ["NST-3", "NST-4"]
    assert known_schedules.FILE.read_text("utf-8") == known_schedules.text(read) + "\n"
    assert plan.VARIANTS.read_text("utf-8") == "{}\n"
    assert cell in json.loads(plan.COSTS.read_text("utf-8"))
