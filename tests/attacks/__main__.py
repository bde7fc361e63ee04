"""``python -m tests.attacks [KIND ...]``: attacks of these kinds (all), and a table of what came of them.

Exit code 1 when something was wrong or was left.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.attacks import Attack, Tried, caches, failing, kills, shapes

KINDS: dict[str, Attack] = {
    "results of the wrong shape": shapes.attack,
    "servers that fail": failing.attack,
    "runs of processes of their own": failing.attack_own_processes,
    "runs that are ended": kills.attack,
    "a spoiled cache": caches.attack,
}
SHOWN = 10  # of what went wrong in one kind, in full


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"words of: {', '.join(KINDS)}")
    wanted = parser.parse_args(arguments).kinds
    rows = []
    for kind, attack in KINDS.items():
        if wanted and not any(word in kind for word in wanted):
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="at", dir="/tmp") as folder:  # short: servers put sockets there
            Path(folder).chmod(0o755)
            tries = list(attack(Path(folder))) or [Tried("nothing", "not one try")]  # that is no success
        bad = [each for each in tries if each.wrong or each.left]
        for each in bad[:SHOWN]:
            print(f"{kind}: {each.what}\n  wrong: {each.wrong}\n  left: {each.left}", flush=True)
        wrong, left = sum(bool(each.wrong) for each in bad), sum(bool(each.left) for each in bad)
        rows.append((kind, len(tries), len(tries) - len(bad), wrong, left, round(time.monotonic() - began)))
    print(f"{'kind':<40}{'tries':>8}{'survived':>10}{'wrong':>8}{'left':>6}{'seconds':>9}")
    for kind, tried, survived, wrong, left, seconds in rows:
        print(f"{kind:<40}{tried:>8}{survived:>10}{wrong:>8}{left:>6}{seconds:>9}")
    return int(any(wrong or left for *_, wrong, left, _ in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
