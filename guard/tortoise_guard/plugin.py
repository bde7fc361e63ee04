"""The pytest plugin: ``-p tortoise_guard.plugin``, or ``pytest_plugins = ["tortoise_guard.plugin"]`` in conftest.py.

A finding belongs to the test in which it was made. What a fixture does wrong shows in the setup or teardown of the test
that used it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator
from typing import Any

import pytest

from .guard import Guard
from .happened import Finding
from .hooks import watching
from .report import Allowed, not_allowed, rules, text
from .switched_on import in_one_list

MODES = ("fail", "warn", "report", "off")


class TortoiseGuardWarning(UserWarning):
    """A finding, in mode ``warn``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tortoise-guard", "tasks that misuse Tortoise's transactions")
    group.addoption("--tortoise-guard", choices=MODES, help="what a finding does to its test (default: fail)")
    parser.addini("tortoise_guard", "as --tortoise-guard: fail, warn, report or off", default="fail")
    parser.addini("tortoise_guard_allow", "findings that are accepted: RULE FILES: REASON", type="linelist", default=[])
    parser.addini("tortoise_guard_pages", "the address of the matrix's pages, for links", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "tortoise_guard_allow(rule, reason): findings of this rule are accepted in this test"
    )
    in_one_list(config)
    mode = _mode(config)
    if mode not in MODES:
        raise pytest.UsageError(f"tortoise_guard = {mode}: it can be {', '.join(MODES)}")
    if mode == "off":
        return
    try:
        allowed = [Allowed.parse(line) for line in config.getini("tortoise_guard_allow")]
    except ValueError as error:
        raise pytest.UsageError(f"tortoise_guard_allow = {error}") from None
    stack = contextlib.ExitStack()
    guard = stack.enter_context(watching())
    config.add_cleanup(stack.close)
    config.pluginmanager.register(Watcher(guard, mode, allowed, config.getini("tortoise_guard_pages")))


def pytest_report_header(config: pytest.Config) -> str:
    return f"tortoise-guard: {_mode(config)}"


def _mode(config: pytest.Config) -> str:
    return str(config.getoption("--tortoise-guard") or config.getini("tortoise_guard"))


class Watcher:
    """Gives findings to the tests in which they were made."""

    def __init__(self, guard: Guard, mode: str, allowed: list[Allowed], pages: str) -> None:
        self._guard, self._mode, self._allowed, self._pages = guard, mode, allowed, pages
        self._met: set[Allowed] = set()
        self._marked: dict[tuple[str, Allowed], bool] = {}  # by test: whether what its marker allows was found
        self._reported: list[tuple[str, str]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._phase(item, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._phase(item, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        return (yield from self._phase(item, "teardown"))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            _marked(item)

    def _phase(self, item: pytest.Item, phase: str) -> Generator[None, Any, Any]:
        try:
            result = yield
        except BaseException:
            for finding in self._new(item):  # its own error comes first
                item.add_report_section(phase, "tortoise guard", text(finding, self._pages))
            raise
        findings = self._new(item)
        if not findings:
            return result
        said = "\n".join(text(finding, self._pages) for finding in findings)
        if self._mode == "fail":
            pytest.fail(said, pytrace=False)
        elif self._mode == "warn":
            warnings.warn(TortoiseGuardWarning(said), stacklevel=2)
        else:
            self._reported.append((item.nodeid, said))
        return result

    def _new(self, item: pytest.Item) -> list[Finding]:
        findings, marked = self._guard.take(), _marked(item)
        self._marked.update(dict.fromkeys(((item.nodeid, each) for each in marked), False) | self._marked)
        for finding in findings:
            self._met |= {each for each in self._allowed if each.covers(finding)}
            self._marked |= {(item.nodeid, each): True for each in marked if each.covers(finding)}
        return not_allowed(findings, [*self._allowed, *marked])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        unmet = [(f"{each.rule} {each.where}", each) for each in self._allowed if each not in self._met]
        unmet += [(f"{each.rule} in {name}", each) for (name, each), met in self._marked.items() if not met]
        if self._reported or unmet:
            terminalreporter.section("tortoise guard")
        for name, said in self._reported:
            terminalreporter.write_line(f"{name}\n{said}")
        for what, each in unmet:
            terminalreporter.write_line(f"allowed but not seen: {what}: {each.reason}")


def _marked(item: pytest.Item) -> list[Allowed]:
    allowed = []
    for mark in item.iter_markers("tortoise_guard_allow"):
        rule, reason = (*mark.args, None, None)[:2]
        rule, reason = mark.kwargs.get("rule", rule), mark.kwargs.get("reason", reason)
        if rule not in rules() or not reason:
            known = ", ".join(rules())
            wrong = f"there is no rule {rule!r}" if rule not in rules() else "say why"
            raise pytest.UsageError(
                f"{item.nodeid}: tortoise_guard_allow: {wrong}\n"
                f'Write tortoise_guard_allow("RULE", reason="WHY"); the rules are {known}.'
            )
        allowed.append(Allowed(rule, "*", reason))
    return allowed
