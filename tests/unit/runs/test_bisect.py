"""The search for the release that changed a verdict."""

import pytest

from matrix.runs import RunError
from matrix.runs.bisect import Probe, ReleaseChange, axis_of, cell_of, search
from matrix.runs.cells import read
from matrix.runs.releases import load

VERSIONS = [f"1.{number}" for number in range(20)]


class World:
    """Words by version, and what was asked for."""

    def __init__(self, words):
        self.words = words
        self.asked = []

    def __call__(self, versions):
        self.asked += versions
        return [Probe(version, self.words(int(version[2:]))) for version in versions]


def test_the_exact_release_is_found_without_testing_all():
    world = World(lambda n: "lies" if n < 13 else "refuses")
    tested, changes = search(VERSIONS, [], world)
    assert changes == [ReleaseChange("1.12", "1.13", "lies", "refuses")]
    assert len(world.asked) == len(set(world.asked)) <= 7
    assert list(tested) == [version for version in VERSIONS if version in world.asked]


def test_several_changes_are_found_between_those_that_are_tested_first():
    world = World(lambda n: "lies" if n < 3 else "breaks" if n < 11 else "lies")
    _, changes = search(VERSIONS, ["1.5", "1.10"], world)
    assert changes == [ReleaseChange("1.2", "1.3", "lies", "breaks"), ReleaseChange("1.10", "1.11", "breaks", "lies")]


def test_nothing_more_is_tested_where_nothing_changes():
    world = World(lambda n: "safe")
    assert search(VERSIONS, ["1.7"], world)[1] == []
    assert world.asked == ["1.0", "1.7", "1.19"]


def test_releases_that_cannot_be_had_are_passed_over_and_named():
    world = World(lambda n: None if n in (9, 10, 11) else "lies" if n < 10 else "safe")
    _, changes = search(VERSIONS, [], world)
    assert changes == [ReleaseChange("1.8", "1.12", "lies", "safe", ("1.9", "1.10", "1.11"))]
    assert str(changes[0]) == "lies up to 1.8, safe from 1.12 (1.9, 1.10, 1.11 in between cannot be had)"


def test_no_release_can_be_had():
    tested, changes = search(VERSIONS[:2], [], World(lambda n: None))
    assert changes == []
    assert [probe.word for probe in tested.values()] == [None, None]


def test_the_axes_of_a_cell():
    releases = load()
    name = read(cell_of("aiomysql"))
    assert str(name) == "mysql-aiomysql"
    tortoise = axis_of(name, "tortoise", releases)
    assert str(tortoise.at("0.23.0")) == "mysql-aiomysql-tortoise0.23.0"
    assert set(tortoise.first) <= {*tortoise.candidates}
    assert len(tortoise.candidates) > len(tortoise.first)  # all of the registry, not only those of the policy
    assert str(axis_of(name, "driver", releases).at("0.2.0")) == "mysql-aiomysql0.2.0"
    assert str(axis_of(read("mariadb-aiomysql"), "server", releases).at("10.5")) == "mariadb-aiomysql-mariadb10.5"
    with pytest.raises(RunError, match="no two versions"):
        axis_of(name, "server", releases)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["NST-3", "nodriver"], "is no cell"), (["NST-3", "mysql-aiomysql", "--axis", "server"], "no two versions")],
)
def test_bad_input_is_told_in_one_line(run, arguments, says):
    done = run("bisect", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
