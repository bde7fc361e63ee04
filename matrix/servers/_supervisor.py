"""The parent process of one private server: stops it when the program that asked for it ends, however it ends.

Run as a script of its own with one JSON line on stdin. It holds stdin open; when that
closes - an orderly stop, an exception, SIGKILL of the program - it stops the server and removes its folder. If it is
killed itself the kernel ends the server with it (Linux), and a later run sweeps the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.dont_write_bytecode = True
from matrix.maker import start_time  # noqa: E402
from matrix.parent import end_with  # noqa: E402

KILL_AFTER_SECONDS = 5.0  # seconds between the server's stop signal and SIGKILL


def _start(order: dict[str, Any]) -> subprocess.Popen[bytes]:
    account = order["account"]
    options: dict[str, Any] = {}
    if account:
        options = {"user": account[0], "group": account[1], "extra_groups": []}
    supervisor, number = os.getpid(), order["signal"]
    with Path(order["log"]).open("ab") as log:
        return subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=order["environment"],
            preexec_fn=lambda: end_with(supervisor, number),  # after the change of user, which would clear it
            **options,
        )


def _wait_for_end(server: subprocess.Popen[bytes], child_ended: int) -> bool:
    """Block until stdin closes or we are told to stop (True), or the server ends by itself (False)."""
    while True:
        ready, _, _ = select.select([0, child_ended], [], [])
        if child_ended in ready:
            if signal.SIGTERM in os.read(child_ended, 100):
                return True
            if server.poll() is not None:
                return False
        if 0 in ready and not os.read(0, 4096):
            return True


def _stop(server: subprocess.Popen[bytes], number: int) -> None:
    for word in (number, signal.SIGKILL):
        server.send_signal(word)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(KILL_AFTER_SECONDS)
            return


def _remove(folder: str) -> None:
    for _ in range(20):  # a dying server's helper processes may still write
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            return
        time.sleep(0.05)


def main() -> int:
    order = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr]
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        server = _start(order)
    except (OSError, subprocess.SubprocessError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    report = {"pid": server.pid, "started": start_time(server.pid)}
    state = {**order["state"], **report, "supervisor": os.getpid(), "supervisor_started": start_time(os.getpid())}
    new = Path(order["folder"], "server.json.new")
    with contextlib.suppress(OSError):  # a full disk: the server itself will say so
        new.write_text(json.dumps(state), encoding="utf-8")
        new.rename(new.with_suffix(""))
    with contextlib.suppress(OSError):
        print(json.dumps(report), flush=True)
    if _wait_for_end(server, reading):
        _stop(server, order["signal"])
        _remove(order["folder"])
        return 0
    return 3  # the folder stays: its log says why


if __name__ == "__main__":
    sys.exit(main())
