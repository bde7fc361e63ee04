#!/usr/bin/env bash
# What CI runs: the project's own tests by the README's command, lint, the table of seeded faults, then the cells of
# the newest releases with their expectations.
# It installs what it needs and works on a machine that has only Python 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(python3 ci/quickest.py)

# The longest first, so that no core idles at the end.
cells=$("$python" -c "
import json
from matrix.harness.drivers import bases
costs = json.load(open('matrix/axes/costs.json', encoding='utf-8'))
print(*sorted(bases(), key=lambda cell: -costs.get(cell, 0)), sep=',')")

# A tool environment of its own, so that the machine's Python is left as it is. It has what tox.ini requires: several
# tox at a time would each want to install that.
if [ ! -x .tox/ci/bin/uv ]; then
    "$python" -m venv .tox/ci
    .tox/ci/bin/python -m pip install --quiet --disable-pip-version-check "tox>=4.30" "tox-uv>=1.28"
fi
tox=.tox/ci/bin/tox

logs=.tox/ci/logs
mkdir -p "$logs"
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

rm -rf results build
# Beside the project's own tests: lint, the workflows, and what the later steps would wait for, their environments and servers.
"$tox" -e lint,workflows >"$logs/lint" 2>&1 & lint=$!
"$tox" run --notest -e "faults,report,$cells" >"$logs/environments" 2>&1 & environments=$!
.tox/ci/bin/python -m matrix servers fetch postgres mysql mariadb odbc >"$logs/servers" 2>&1 & servers=$!
status=0
"$tox" -e unit || status=$?
wait "$lint" || status=$?
cat "$logs/lint"
[ "$status" = 0 ] || exit "$status"
# What could not be made ready is told; the step that needs it fails.
wait "$environments" || cat "$logs/environments"
wait "$servers" || cat "$logs/servers"

# All orders at once: nobody waits for a first table here. A cell per core, with a process each, leaves no core idle
# when one of them waits, as ODBC does for a third of its time; the seeded faults, over all cores, fill what is left. A red
# one does not keep the others from running, the check below is what counts.
{ "$tox" -e faults -- --brief; status=$?; "$tox" -e fastapi,fastapi-0.115 || true; exit $status; } >"$logs/faults" 2>&1 & faults=$!
MATRIX_PROCESSES=1 "$tox" run-parallel --parallel auto --parallel-no-spinner -e "$cells" -- --full-first || status=$?
wait "$faults" || status=$?
cat "$logs/faults"
"$tox" -e report || status=$?
# Fewer cells than planned, an incomplete result file and an unmet expectation are errors, whatever tox said of them.
.tox/report/bin/python -m matrix results check results --complete --expect-cells "$cells"
exit "$status"
