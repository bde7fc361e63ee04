"""The lines of a result file as types: header, one line per scenario (a remedy's among them), footer, and the evidence.

The harness makes them (``harness/cell.py``, ``harness/result_lines.py``, ``harness/evidence.py``), ``results/write.py``
writes and ``results/read.py`` reads them. They are plain dictionaries, as JSON has them. A test holds every field and
its type to ``results/schema/results-1.schema.json``, which also says what each means; a key of a class with
``total=False`` may be missing. Ground floor: the standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict

LONGEST_MESSAGE = 200  # characters of an exception's message in a fact; a longer one is cut there

# -- header ----------------------------------------------------------------------------------------------------------


class _Axes(TypedDict):
    driver: str
    driver_version: str
    tortoise: str | None
    server: str
    server_version: str | None
    python: str


class Axes(_Axes, total=False):
    """What a cell is made of."""

    loop: str | None


class _Header(TypedDict):
    type: str
    schema: int
    cell: str
    axes: Axes
    packages: dict[str, str]
    started: str
    planned: list[str]


class Provenance(TypedDict):
    """A source of the caller's own: ``label`` as the cell's name has it, its commit, whether its files were not that
    commit's, and a digest of a folder's Python files."""

    label: str
    commit: str
    dirty: bool
    digest: str


class Header(_Header, total=False):
    """The first line."""

    server_string: str | None
    platform: str | None
    commit: str | None
    catalogue: list[str]
    inputs: str | None
    depth: str
    sources: dict[str, Provenance]  # packages that are no release


# -- facts ------------------------------------------------------------------------------------------------------


# What a sentence says, as data (harness/sentences.py): its ``kind``, and keys of the kind's own.
Fact: TypeAlias = Mapping[str, Any]


class Because(TypedDict):
    """What decides a line: for programs, and in words."""

    finding: Fact | None
    reason: str | None


# -- evidence --------------------------------------------------------------------------------------------------------


class Step(TypedDict, total=False):
    """One action of the schedule."""

    n: int
    at: int
    action: str | int | None
    text: str | None
    fact: Fact | None


class Error(TypedDict, total=False):
    """What an operation was told instead of an answer."""

    type: str
    message: str


class _Event(TypedDict):
    event: str


class Event(_Event, total=False):
    """One line of the history."""

    n: int
    ms: float | None
    session: str | int | None
    operation: int | str | None
    what: str | None
    text: str | None
    fact: Fact | None
    block: str | int | None
    result: Any
    error: Error | None


class _Frame(TypedDict):
    direction: str


class Frame(_Frame, total=False):
    """One frame on the wire."""

    n: int
    ms: float | None
    wire: int | str | None
    kind: str | None
    length: int | None
    text: str | None
    held: bool | None
    overlap: bool | None


class ExceptionSeen(TypedDict, total=False):
    """One exception in full."""

    session: str | int | None
    operation: int | str | None
    type: str | None
    message: str | None
    traceback: str | None
    classed: str | None


class WitnessReading(TypedDict, total=False):
    """What the witness read, against what the tasks were told."""

    rows: list[Any] | None
    expected: list[Any] | None
    sentences: list[str]
    readings: list[Fact | None]


class _RecoveryCheck(TypedDict):
    text: str


class RecoveryCheck(_RecoveryCheck, total=False):
    """One thing that was checked afterwards."""

    ok: bool | None


class Waiting(TypedDict, total=False):
    """A task that waited for ever, and where."""

    task: Any
    where: Any


class Hang(TypedDict, total=False):
    """How a hang was proven."""

    proof: str | None
    waiting: list[Waiting]
    connections: list[Any] | None
    text: str | None
    stack: str
    fact: Fact | None


class BlockOf(TypedDict, total=False):
    """A transaction block of the program."""

    number: int
    name: str
    parent: int | None


class Evidence(TypedDict, total=False):
    """What was seen in the deciding run."""

    program: str | None
    declared: dict[str, Any] | None
    setup: dict[str, Any] | None
    blocks: list[BlockOf]
    steps: list[Step]
    history: list[Event]
    frames: list[Frame]
    exceptions: list[ExceptionSeen]
    witness: WitnessReading | None
    aftermath: list[RecoveryCheck]
    hang: Hang | None
    loop_errors: list[Any] | None
    second_run: dict[str, Any] | None


# -- a scenario ------------------------------------------------------------------------------------------------------


class _Violation(TypedDict):
    property: str
    sentence: str


class Violation(_Violation, total=False):
    """A property that did not hold."""

    fact: Fact | None


class _OrdersAnomaly(TypedDict):
    verdict: str
    properties: list[str]


class OrdersAnomaly(_OrdersAnomaly, total=False):
    """A set of properties that some orders violated."""

    orders: int


class Chosen(TypedDict, total=False):
    """How many orders there are, and how those that were run were chosen."""

    possible: int | None
    estimate: int | None
    situation_not_met: int
    made_again: list[str]
    swept: int
    placed: int
    unplaced: int
    sampled: int
    seed: int | None
    on_record: str


class _Orders(TypedDict):
    explored: int


class Orders(_Orders, Chosen, total=False):
    """The orders that were run."""

    verdicts: dict[str, int]
    anomalies: list[OrdersAnomaly]


class _ExplorationResult(TypedDict):
    verdict: str


class ExplorationResult(_ExplorationResult, total=False):
    """What exploring a scenario shows, alone or under a remedy."""

    complies: bool | None
    violations: list[Violation]
    reason: str | None
    finding: Fact | None
    proof: str | None
    orders: Orders | None
    schedule: str | None
    evidence: Evidence | None


class Cure(ExplorationResult, total=False):
    """A scenario under a remedy."""

    without: str | None
    title: str


class CureLine(Cure, total=False):
    """A scenario under a remedy as a line of its own; in no file (``results/reproducers.py`` makes it)."""

    scenario: str
    remedy_id: str
    cured: str
    contract: str


class _Anomaly(TypedDict):
    signature: str
    verdict: str
    properties: list[str]
    program: str


class Anomaly(_Anomaly, total=False):
    """What generated programs showed: one set of violated properties."""

    programs: int
    reason: str | None
    finding: Fact | None
    schedule: str | None
    known_by: list[str]
    made_of: list[str]
    found_by_generation: bool | None


class _Generated(TypedDict):
    seed: int
    programs: int
    anomalies: list[Anomaly]


class Generated(_Generated, total=False):
    """The generated programs that a line stands for."""

    deciding: list[Any]


class Quotation(TypedDict, total=False):
    """Where a promise is made."""

    text: str
    url: str | None


class _Expectation(TypedDict):
    met: bool


class Expectation(_Expectation, total=False):
    """What was on record when the cell ran."""

    verdict: str | None
    remedy: str | None
    reason: str | None
    category: str | None
    link: str | None
    also: dict[str, int | None]


class _ScenarioLine(TypedDict):
    type: str
    schema: int
    scenario: str
    family: str
    title: str
    contract: str
    level: str
    verdict: str
    complies: bool | None
    violations: list[Violation]


class ScenarioLine(_ScenarioLine, total=False):
    """One scenario in one cell; ``remedy`` and ``cures`` where it is a remedy, ``generated`` where it is programs."""

    source: Quotation | None
    links: list[str]
    finding: Fact | None
    reason: str | None
    proof: str | None
    orders: Orders | None
    schedule: str | None
    seconds: float | None
    depth: str
    remedy: str | None
    cures: dict[str, Cure] | None
    variants: dict[str, str] | None
    schedules: dict[str, str | None] | None
    expectation: Expectation | None
    evidence: Evidence | None
    generated: Generated | None


# -- footer ----------------------------------------------------------------------------------------------------------


class _Footer(TypedDict):
    type: str
    schema: int
    counts: dict[str, int]
    scenarios: int
    seconds: float
    finished: str


class Footer(_Footer, total=False):
    """The last line. A file without it is incomplete."""

    planned: int
    not_installed: str | None


def word_of(line: ScenarioLine) -> str:
    """What a line is known by: of a remedy what it does, else the verdict."""
    return line.get("remedy") or line["verdict"]
