"""The table of attacks: what was not tried is no success."""

from __future__ import annotations

from tests.attacks import Tried, __main__


def test_a_kind_that_tries_nothing_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(__main__, "KINDS", {"nothing": lambda folder: iter(()), "one": lambda folder: [Tried("one")]})
    assert __main__.main([]) == 1
    told = capsys.readouterr().out
    assert "not one try" in told
    assert [line.split()[:5] for line in told.splitlines()[-2:]] == [
        ["nothing", "1", "0", "1", "0"],
        ["one", "1", "1", "0", "0"],
    ]
    assert __main__.main(["one"]) == 0
