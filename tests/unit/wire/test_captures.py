"""Streams of real drivers and real servers, replayed (see record.py), and what holds for any stream at all."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from matrix.harness.wire import tracker_for
from tests.unit.wire.streams import Script, cut, joined, outcome

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.json"))
UNASKED = {"NotificationResponse", "NoticeResponse", "ParameterStatus", "ERR", "ErrorResponse"}


def conversations() -> list[tuple[str, str, Script]]:
    found = []
    for path in CAPTURES:
        for number, chunks in enumerate(json.loads(path.read_text())):
            script = [(way, bytes.fromhex(digits)) for way, digits in chunks]
            found.append((f"{path.stem}-{number}", path.stem.partition("-")[0], script))
    return found


CONVERSATIONS = conversations()
each_conversation = pytest.mark.parametrize(
    ("kind", "script"), [entry[1:] for entry in CONVERSATIONS], ids=[entry[0] for entry in CONVERSATIONS]
)
OVERLAPPING = [entry for entry in CONVERSATIONS if "overlap" in entry[0]]


@each_conversation
def test_turns_of_real_conversations(kind: str, script: Script) -> None:
    """Whenever a real server speaks, an answer was owed; when it has gone quiet for good, none is."""
    tracker = tracker_for(kind)
    for way, data in script:
        if way == "->":
            tracker.client(data)
        else:
            owed = tracker.owed
            pieces = tracker.server(data)
            assert owed > 0 or {piece.frame.kind for piece in pieces} <= UNASKED
            assert sum(piece.ends_answer for piece in pieces) == owed - tracker.owed
        assert not tracker.blind
    assert tracker.owed == 0 or not any(way == "<-" for way, _ in script[-1:])


@each_conversation
def test_cutting_changes_nothing(kind: str, script: Script) -> None:
    """Byte by byte or in chunks of any size, the same frames come, and the server's bytes come out unchanged."""
    whole = outcome(kind, script)
    assert whole[1] == b"".join(data for way, data in script if way == "<-")
    for size in (1, 2, 3, 4, 5, 64):
        assert outcome(kind, cut(script, size)) == whole
    assert outcome(kind, joined(script)) == whole


@each_conversation
def test_no_authentication_data_is_shown(kind: str, script: Script) -> None:
    """The frames of a login say nothing but errors and the server's state."""
    shown = {"ERR", "ErrorResponse", "ReadyForQuery", "CancelRequest"}
    tracker = tracker_for(kind)
    for way, data in script:
        if tracker.ready:
            break
        pieces = tracker.server(data) if way == "<-" else ()
        frames = [piece.frame for piece in pieces] if way == "<-" else tracker.client(data)
        assert all(frame.text == "" or frame.kind in shown for frame in frames)


def test_there_are_overlapping_conversations() -> None:
    """The thing under test is among the captures: a driver that sends a second command before the first is answered."""
    most = {name: 0 for name, _, _ in OVERLAPPING}
    for name, kind, script in OVERLAPPING:
        tracker = tracker_for(kind)
        for way, data in script:
            tracker.client(data) if way == "->" else tracker.server(data)
            most[name] = max(most[name], tracker.owed)
        assert tracker.owed == 0
    assert max(most.values()) > 1, most


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["mysql", "mariadb", "postgres"])
def test_damaged_streams_never_raise(kind: str, seed: int) -> None:
    """Bytes changed, lost or moved at random: nothing is raised, and the server's bytes still come out unchanged."""
    dice = random.Random(seed)
    scripts = [script for _, of, script in CONVERSATIONS if of == kind]
    for script in dice.sample(scripts, min(8, len(scripts))):
        damaged = [(way, _damage(data, dice)) for way, data in script]
        tracker = tracker_for(kind)
        through = b""
        for way, data in damaged:
            if way == "->":
                tracker.client(data)
            else:
                through += b"".join(piece.data for piece in tracker.server(data))
            assert tracker.owed >= 0
        sent = b"".join(data for way, data in damaged if way == "<-")
        assert sent.startswith(through), "only an incomplete last message may be held back"
        assert not tracker.blind or through == sent or tracker.server(b"!")[0].data == sent[len(through) :] + b"!"


def _damage(data: bytes, dice: random.Random) -> bytes:
    if dice.random() < 0.8:
        return data
    damaged = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        damaged[dice.randrange(len(damaged))] = dice.choice((0, 1, 0xFB, 0xFE, 0xFF, dice.randrange(256)))
    start = dice.randrange(len(damaged))
    if dice.random() < 0.3:
        del damaged[start : start + dice.randint(1, 9)]
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("kind", ["mysql", "postgres"])
def test_noise_never_raises(kind: str, seed: int) -> None:
    """Pure noise from both sides: nothing is raised, nothing of the server's is lost."""
    dice = random.Random(seed)
    tracker = tracker_for(kind)
    sent = through = b""
    for _ in range(20):
        tracker.client(dice.randbytes(dice.randrange(40)))
        noise = dice.randbytes(dice.randrange(40))
        sent += noise
        through += b"".join(piece.data for piece in tracker.server(noise))
    assert sent.startswith(through)


def test_a_kind_that_has_no_tracker() -> None:
    """The error names the kind and those that exist."""
    with pytest.raises(ValueError, match=r"'oracle'.*mariadb, mysql, postgres"):
        tracker_for("oracle")
