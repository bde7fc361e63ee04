"""Every JSON file of the site fits the schema that is published beside it, and has no key that the schema lacks."""

from __future__ import annotations

import copy
import fnmatch
import json

import pytest

from matrix.results import schema
from tests.unit.results.strict import validators


def kind_of(path):
    """Of what schema a file is; a ``*`` is one part of its path. None of no file that is known."""
    parts = path.split("/")
    fitting = [
        kind
        for pattern, kind in schema.PUBLISHED.items()
        if len(parts) == pattern.count("/") + 1 and all(map(fnmatch.fnmatchcase, parts, pattern.split("/")))
    ]
    return fitting[0] if fitting else None


def documents_of(site):
    return {
        path.relative_to(site).as_posix(): json.loads(path.read_text("utf-8"))
        for path in sorted(site.rglob("*.json"))
        if not path.name.endswith(".schema.json")
    }


@pytest.fixture(scope="module")
def closed():
    return validators()


def test_every_file_has_a_schema_and_every_schema_a_file(built):
    kinds = {path: kind_of(path) for path in documents_of(built)}
    assert [path for path, kind in kinds.items() if kind is None] == []
    assert set(kinds.values()) == {*schema.PUBLISHED.values()}


def test_every_file_fits_its_schema(built):
    checks = {kind: schema.document_checker(kind) for kind in schema.PUBLISHED.values()}
    wrong = {path: checks[kind_of(path)](content) for path, content in documents_of(built).items()}
    assert {path: text for path, text in wrong.items() if text} == {}


def test_no_file_has_a_key_that_its_schema_lacks(built, closed):
    found = {
        path: [error.message for error in closed[kind_of(path)].iter_errors(content)]
        for path, content in documents_of(built).items()
    }
    assert {path: messages for path, messages in found.items() if messages} == {}


def test_every_schema_is_published_beside_them(built):
    for kind in ("results", *schema.PUBLISHED.values()):
        published = json.loads((built / f"{kind}-1.schema.json").read_text("utf-8"))
        assert published == schema.load(kind)
        assert published["$id"].endswith(f":{kind}:1")


def test_the_copy_beside_the_site_is_the_summary_too(built):
    assert schema.document_checker("summary")(json.loads((built.parent / "results.json").read_text("utf-8"))) is None


FAULTS = [
    ("results.json", lambda it: it.pop("problems"), "'problems' is a required property"),
    ("results.json", lambda it: it["cells"][0].pop("page"), "'page' is a required property"),
    ("results.json", lambda it: it["cells"][0]["words"].update({"NST-4": "good"}), "'good'"),
    ("drivers/aiomysql.json", lambda it: it["cells"][0].update(complete="yes"), "'yes' is not of type 'boolean'"),
    ("scenarios/NST-4.json", lambda it: it["cells"].update({"A cell": {}}), "A cell"),
    ("scenarios/NST-4.json", lambda it: next(iter(it["ranges"].values()))["driver"][0].pop("to"), "'to' is a required"),
    ("cells/mysql-aiomysql.json", lambda it: it["header"].pop("axes"), ""),
    ("cells/mysql-aiomysql.json", lambda it: it["scenarios"][0].update(level="should"), "'should'"),
    ("badges/aiomysql.json", lambda it: it.update(color="red"), "'red' does not match"),
    ("faults.json", lambda it: it.pop("faults"), "'faults' is a required"),
    ("stability.json", lambda it: it.pop("cells"), "'cells' is a required"),
    ("finds.json", lambda it: it["finds"][0].pop("program"), "'program' is a required"),
]


@pytest.mark.parametrize(("path", "spoil", "words"), FAULTS, ids=[f"{path}-{words}" for path, _, words in FAULTS])
def test_what_does_not_fit_is_told(built, path, spoil, words):
    content = copy.deepcopy(documents_of(built)[path])
    spoil(content)
    told = schema.document_checker(kind_of(path))(content)
    assert told and words in told


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("results.json", ("cells", 0)),
        ("drivers/aiomysql.json", ("cells", 0, "header", "axes")),
        ("scenarios/NST-4.json", ()),
        ("cells/mysql-aiomysql.json", ("scenarios", 0)),
        ("badges/aiomysql.json", ()),
    ],
)
def test_a_new_key_is_seen(built, closed, path, where):
    content = copy.deepcopy(documents_of(built)[path])
    part = content
    for name in where:
        part = part[name]
    part["brand_new"] = 1
    assert schema.document_checker(kind_of(path))(content) is None  # readers pass over it
    (error,) = closed[kind_of(path)].iter_errors(content)
    assert "brand_new" in str([error.message, *(each.message for each in error.context or ())])
