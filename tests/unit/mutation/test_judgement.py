"""What survives must be explained, and what is explained must survive: the judgement, without running mutants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.mutation.__main__ import Survivor, belongs, explained, function_of, judge, main, neutral, sets, survivor

SHOWN = """# matrix.harness.verdict.x_worst__mutmut_2: survived
--- matrix/harness/verdict.py
+++ matrix/harness/verdict.py
@@ -1,4 +1,4 @@
 def worst(verdicts: object) -> str:
     \"\"\"The worst of some verdicts; safe of none.\"\"\"
-    return max(verdicts, key=badness,
-        default=SAFE)
+    return max(verdicts, key=badness,
+        default=None)
"""


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("matrix.harness.verdict.x_worst__mutmut_2", "verdict.worst"),
        ("matrix.harness.checker.x__in_part__mutmut_17", "checker._in_part"),
        ("matrix.harness.history.xǁHistoryǁfate__mutmut_12", "history.History.fate"),
        ("matrix.harness.explorer.xǁExplorerǁ__init____mutmut_8", "explorer.Explorer.__init__"),
    ],
)
def test_a_mutant_s_function_is_named_as_people_name_it(name, function):
    assert function_of(name) == function


def test_a_survivor_is_what_changed_not_which_number_it_has():
    found = survivor("matrix.harness.verdict.x_worst__mutmut_2", SHOWN)
    was, became = (f"return max(verdicts, key=badness, default={default})" for default in ("SAFE", "None"))
    assert found == Survivor("verdict.worst", was, became)


def test_survivors_and_explanations_must_match():
    one, two, three = (Survivor("checker.check", "a", became) for became in "bcd")
    assert judge([one, two], [one, two]) == ([], [])
    assert judge([one, two, two], [one, three]) == ([two], [three])


def test_every_set_names_files_and_tests_that_exist_and_every_explanation_belongs_to_one():
    mutated = []
    for chosen in sets().values():
        assert [each for each in chosen["only_mutate"] + chosen["tests"] if not Path(each).exists()] == []
        mutated += chosen["only_mutate"]
    assert len(set(mutated)) == len(mutated)
    assert [each.function for each in explained() if not belongs(each, mutated)] == []


def test_an_explanation_belongs_to_the_set_that_mutates_its_file():
    known = Survivor("servers.private.ServerProcess.stop", "a", "b")
    assert belongs(known, ["matrix/files.py", "matrix/servers/private.py"])
    assert not belongs(known, ["matrix/files.py", "matrix/harness/checker.py"])


def test_a_kind_of_change_is_neutral_in_its_own_set_alone():
    change = "time.sleep(0.05)\ntime.sleep(1.05)"
    assert [any(kind.search(change) for kind in neutral(name)) for name in ("safety", "judgement")] == [True, False]
    assert not any(kind.search("if a < b:\nif a <= b:") for kind in neutral("safety"))


def test_a_set_that_is_not_there_is_refused_with_those_that_are(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["judgment"])
    assert "there is no set judgment; there are judgement, gate, safety" in capsys.readouterr().err


def test_every_explanation_on_record_has_a_reason_and_stands_once():
    known = explained()
    assert known
    assert len(set(known)) == len(known)


def test_an_explanation_without_a_reason_is_none(tmp_path):
    entry = '[[equivalent]]\nfunction = "checker.check"\nwas = "a"\nbecame = "b"\n'
    (tmp_path / "explained.toml").write_text(entry + 'why = " "\n')
    with pytest.raises(ValueError, match=r"checker\.check has no reason"):
        explained(tmp_path / "explained.toml")


APART = """
import os, sys
from tests.unit.mutation.apart import go_apart
go_apart()
{}
"""


@pytest.mark.parametrize(
    ("does", "code"),
    [("sys.exit(7 * (os.getpid() == 2))", 7), ("os.kill(0, 9)", 137), ("os.fork() or os._exit(3)", 0)],
)
def test_what_a_mutant_ends_is_its_own_tests_alone(does, code):
    if os.getuid() or sys.platform != "linux":
        pytest.skip("a namespace for processes takes root")
    assert subprocess.run([sys.executable, "-c", APART.format(does)], start_new_session=True).returncode == code
