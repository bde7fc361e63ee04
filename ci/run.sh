#!/usr/bin/env bash
# What CI runs: the project's own tests by the README's command, lint, the table of seeded faults, then the cells of
# the newest releases with their expectations.
# It installs what it needs and works on a machine that has only Python 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."

cells=$(python3 -c "from matrix.harness.drivers import bases; print(','.join(bases()))")

# A tool environment of its own, so that the machine's Python is left as it is.
if [ ! -x .tox/ci/bin/tox ]; then
    python3 -m venv .tox/ci
    .tox/ci/bin/python -m pip install --quiet --disable-pip-version-check tox
fi
tox=.tox/ci/bin/tox

rm -rf results build
"$tox" -e unit
"$tox" -e lint

# The cells one after the other; a red one does not keep the others from running, the check below is what counts.
status=0
"$tox" -e faults || status=$?
"$tox" run -e "$cells" || status=$?
"$tox" -e report || status=$?
# Fewer cells than planned, an incomplete result file and an unmet expectation are errors, whatever tox said of them.
.tox/report/bin/python -m matrix results check results --complete --expect-cells "$cells"
exit "$status"
