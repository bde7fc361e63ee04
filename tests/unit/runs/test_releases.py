"""The releases axis: policy, labels, wheels, and the file that is written."""

import pytest
import tomllib

from matrix.runs import registry, releases
from matrix.runs.registry import Wheels, fits, reason
from matrix.runs.releases import by_policy

SOME = ["0.19.3", "0.20.0", "0.20.1", "1.0.0", "1.1.0", "1.1.9", "1.2.0rc1", "0.9.9rc1"]


def test_the_policy_takes_the_oldest_the_newest_of_each_minor_and_a_prerelease_beyond():
    assert by_policy(SOME, "minor", True) == ["0.19.3", "0.20.1", "1.0.0", "1.1.9", "1.2.0rc1"]
    assert by_policy(SOME, "minor", False) == ["0.19.3", "0.20.1", "1.0.0", "1.1.9"]
    assert by_policy(["3.1.8", "3.1.9", "3.2.0"], "minor", False) == ["3.1.8", "3.1.9", "3.2.0"]


def test_each_patch_may_be_taken_and_an_old_prerelease_never_is():
    assert by_policy([*SOME[:6], "1.1.9rc1"], "patch", True) == SOME[:6]


@pytest.fixture
def package():
    tortoise = releases.load().of("tortoise-orm")
    return releases.Package(**{**tortoise.__dict__, "all": ("3.1", "3.1.8", "3.2.0", "3.2.1", "3.3.0rc1")})


def test_a_label_of_two_numbers_is_the_newest_of_its_minor(package):
    assert package.resolve("3.1") == "3.1.8"
    assert package.resolve("3.2") == "3.2.1"
    assert package.resolve("3.2.0") == "3.2.0"
    assert package.resolve("3.1.0") == "3.1"  # the release is called by two numbers
    assert package.resolve("3.3.0rc1") == "3.3.0rc1"
    assert package.resolve("3.3") is None
    assert package.resolve("4.0.0") is None


def test_every_release_has_a_label_that_means_it(package):
    assert [package.label(version) for version in package.all] == ["3.1.0", "3.1", "3.2.0", "3.2", "3.3.0rc1"]
    assert [package.resolve(package.label(version)) for version in package.all] == list(package.all)


@pytest.mark.parametrize(
    ("wheel", "pythons"),
    [
        ("asyncmy-0.2.5-cp310-cp310-manylinux_2_31_x86_64.whl", ["3.10"]),
        ("a-1-cp311-cp311-macosx_11_0_arm64.whl", []),
        ("a-1-cp311-cp311-musllinux_1_2_aarch64.whl", []),
        ("a-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", ["3.10", "3.11", "3.13"]),
        ("a-1-py2.py3-none-any.whl", ["3.10", "3.11", "3.13"]),
        ("a-1-cp313-cp313t-manylinux_2_17_x86_64.whl", ["3.13"]),
    ],
)
def test_a_wheel_tells_the_pythons_it_is_for(wheel, pythons):
    assert [python for python in ("3.10", "3.11", "3.13") if fits(wheel, python)] == pythons


def test_the_resolver_is_quoted_without_its_warnings_and_hints():
    said = """warning: something
  cause: of the warning
error: No solution found when resolving dependencies
  cause: Because asyncmy==0.2.5 has no wheels and you require asyncmy==0.2.5,
         we can conclude that your requirements are unsatisfiable.

hint: Wheels are required
"""
    assert reason(said) == (
        "No solution found when resolving dependencies Because asyncmy==0.2.5 has no wheels and you require "
        "asyncmy==0.2.5, we can conclude that your requirements are unsatisfiable."
    )


def test_what_is_written_is_read_again(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "versions", lambda name: ["0.18.0", *SOME, "2.0.0.dev1"])
    monkeypatch.setattr(registry, "wheels", lambda name, version, pythons: Wheels(("3.10", "3.11"), "2026-01-02"))
    told = []
    found = releases.refreshed(releases.load(), ["aiomysql"], told.append)
    path = tmp_path / "releases.toml"
    policy = releases.PATH.read_text(encoding="utf-8").partition(releases.GENERATED)[0]
    path.write_text(policy + releases.written(found), encoding="utf-8")
    again = releases.load(path)
    assert again.packages == found.packages
    assert "0.18.0" in again.of("aiomysql").all
    assert "2.0.0.dev1" not in again.of("aiomysql").all
    assert again.of("aiomysql").tested[-1] == releases.Release("1.2.0rc1", ("3.10", "3.11"), "2026-01-02")
    assert len(told) == 1


def test_the_file_in_the_tree_is_whole_and_names_no_registry():
    text = releases.PATH.read_text(encoding="utf-8")
    assert text == text.partition(releases.GENERATED)[0].rstrip() + "\n\n" + releases.written(releases.load())
    assert "pypi" not in text.lower()
    assert list(tomllib.loads(text)["releases"]) == [p.name for p in releases.load().packages.values() if p.since]
