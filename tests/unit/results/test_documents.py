"""faults.json and stability.json: what fits their schemas is read as it was written, everything else is named."""

from __future__ import annotations

import json

import pytest

from matrix.results import documents, read, schema
from tests.unit.results import samples

SAMPLES = {kind: getattr(samples, kind)() for kind in ("faults", "stability", "web", "finds")}


@pytest.mark.parametrize("kind", documents.KINDS)
def test_a_document_is_read_as_it_was_written(tmp_path, kind):
    documents.write(tmp_path / "deep" / f"{kind}.json", SAMPLES[kind])
    assert documents.read_folder(tmp_path / "deep") == {kind: SAMPLES[kind]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [f"{kind}.json"]


@pytest.mark.parametrize("kind", ["results", *schema.PUBLISHED.values()])
def test_the_schemas_are_valid(kind):
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(schema.load(kind))


def test_a_folder_without_documents_has_none(tmp_path):
    assert documents.read_folder(tmp_path) == {}


def test_a_document_is_no_cell(tmp_path):
    documents.write(tmp_path / "faults.json", SAMPLES["faults"])
    assert read.read_folder(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("{", read.BadLine, "not JSON"),
        ("[]", read.BadLine, "not a document of type 'faults'"),
        (json.dumps(SAMPLES["stability"]), read.BadLine, "not a document of type 'faults'"),
        (json.dumps({**SAMPLES["faults"], "schema": 2}), read.ResultError, "schema 2 is unknown"),
        (json.dumps(samples.faults(faults=[{"name": "Nameless"}])), read.BadLine, "faults/0: 'sentence' is a required"),
        (json.dumps(samples.faults(samples.fault(verdict="bad"))), read.BadLine, "faults/0/verdict: 'bad'"),
    ],
)
def test_what_is_no_document_is_one_line_with_the_path(tmp_path, text, error, words):
    (tmp_path / "faults.json").write_text(text)
    with pytest.raises(error, match=words) as caught:
        documents.read_folder(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "faults.json"))
    assert "\n" not in str(caught.value)


def test_an_interval_has_two_ends_between_none_and_all():
    check = schema.document_checker("stability")
    document = samples.stability()
    assert check(document) is None
    for wrong in ([0.1], [0.1, 1.2], [0.1, 0.2, 0.3]):
        document["cells"][0]["replays"]["interval"] = wrong
        assert "cells/0/replays/interval" in check(document)
