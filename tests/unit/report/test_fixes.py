"""What candidates do, computed: cells of a release beside those of candidates."""

import pytest

from matrix.__main__ import main
from tests.unit.results import samples

PAGE = "".join(f"<!-- {name}:start -->\n<!-- {name}:end -->\n" for name in ("sums", "cells", "worse", "scenarios"))


@pytest.fixture
def folder(tmp_path):
    """NST-3 is mended by both, NST-4 by one; CTX-1 is refused now; TXN-1 gets worse; NST-5 is not measured once."""
    words = {
        "": {"NST-3": "lies", "NST-4": "hangs", "CTX-1": "safe", "TXN-1": "safe", "NST-5": "safe"},
        "-tortoise1.1.9+one_lock": {
            "NST-3": "safe", "NST-4": "hangs", "CTX-1": "refuses", "TXN-1": "lies", "NST-5": "error",
        },
        "-tortoise1.1.9+refuse": {
            "NST-3": "refuses", "NST-4": "safe", "CTX-1": "refuses", "TXN-1": "safe", "NST-5": "safe",
        },
    }  # fmt: skip
    for label, own in words.items():
        head = samples.header() | {"cell": f"mysql-aiomysql{label}", "planned": list(own)}
        lines = [samples.scenario(name, word, level="loud") for name, word in own.items()]
        samples.write_cell(tmp_path / "results", head, lines)
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path


def test_before_and_after_are_counted(folder, capsys):
    assert main(["fixes", str(folder / "results"), "--page", str(folder / "page.md")]) == 0
    text = (folder / "page.md").read_text("utf-8")
    assert "| `one_lock` | 4 | 2 → 2 | 2 → 1 | 2 → 2 |" in text
    assert "| `refuse` | 5 | 2 → 0 | 2 → 0 | 2 → 0 |" in text
    assert "| mysql-aiomysql | 2 → 2 | 2 → 0 |" in text
    assert "- `one_lock`: 1 worse; 1 times a refusal in the place of `safe`" in text
    assert "  - TXN-1: safe → lies (mysql-aiomysql)\n  - not measured: NST-5 on mysql-aiomysql" in text
    assert "- `refuse`: 0 worse; 1 times" in text
    assert "| ≠ → ✔ ⊘ |" in next(line for line in text.splitlines() if line.startswith("| NST-3"))
    assert "1 lines are worse with a candidate" in capsys.readouterr().out


def test_what_has_no_other_side_is_told(folder, capsys):
    for path in (folder / "results").glob("*+*"):
        path.unlink()
    assert main(["fixes", str(folder / "results"), "--page", str(folder / "page.md")]) == 1
    assert "no cell of a release stands beside one of a candidate" in capsys.readouterr().err
