"""A file is the old one or the new one, whoever writes and however a writer ends; nothing stays beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from matrix import files
from tests.unit.mutation.reach import in_another_process

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from matrix import files
print(flush=True)
sys.stdin.readline()
for _ in range(200):
    files.write(Path(sys.argv[1]), sys.argv[2] * 100_000)
"""


def test_a_file_and_its_folder_are_made_and_an_older_one_is_replaced(tmp_path):
    target = tmp_path / "new" / "a.json"
    files.write(target, "old")
    files.write(target, "new \udc80", durable=True)
    assert target.read_text("utf-8") == "new \\udc80"
    assert [path.name for path in target.parent.iterdir()] == ["a.json"]


def test_who_fails_leaves_the_older_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    files.write(target, b"old")
    with pytest.raises(LookupError), files.replacing(target) as temporary:
        temporary.write_text("half of the n")
        raise LookupError
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_two_writers_at_once_are_in_nobody_s_way(tmp_path):
    target = tmp_path / "a.json"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target), letter],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for letter in "ab"
    ]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if target.exists():
            seen.add(target.read_text())
    assert [writer.wait() for writer in writers] == [0, 0]
    assert {*seen, target.read_text()} <= {"a" * 100_000, "b" * 100_000}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    for writer in writers:
        writer.communicate()


def test_a_copy_keeps_the_time_of_change(tmp_path):
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_text("text")
    files.copy(source, target)
    assert target.read_text() == "text"
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns


def test_the_requirements_are_named_from_where_one_is(tmp_path, monkeypatch):
    asked = Path(files.__file__).resolve().parents[1] / "ci" / "requirements.txt"
    monkeypatch.chdir(tmp_path)
    assert not Path(files.requirements()).is_absolute()
    assert Path(files.requirements()).resolve() == asked


PRINTS = """
import signal, sys
from matrix import files
def command():
    print("x" * int(sys.argv[1]))
    if len(sys.argv) > 2:
        raise KeyboardInterrupt
    return 7
sys.exit(files.until_read(command))
"""


@pytest.mark.parametrize("size", [1, 1_000_000])
@pytest.mark.parametrize(("read", "interrupted", "code"), [(True, False, 7), (True, True, 130), (False, False, 141)])
def test_what_prints_ends_as_those_do_who_are_ended_by_the_signal(size, read, interrupted, code):
    """Also where all that it prints is still in its buffer when nobody reads any more."""
    in_another_process(files)
    words = [sys.executable, "-c", PRINTS, str(size), *["interrupted"] * interrupted]
    hears, says = os.pipe()
    if not read:
        os.close(hears)
    with subprocess.Popen(words, cwd=ROOT, stdout=says, stderr=subprocess.PIPE) as process:
        os.close(says)
        if read:
            with os.fdopen(hears, "rb") as heard:
                assert heard.read() == b"x" * size + b"\n"
        assert process.stderr.read() == b""
    assert process.returncode == code
