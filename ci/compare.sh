#!/usr/bin/env bash
# Runs CELLS with the released versions and with the CHECKOUT of a driver or of Tortoise (OF), and writes what changed:
# diff.md, and whether something got worse, into the folder $2. $1 is the Python that has the program's packages.
set -euo pipefail
python=$1 out=$2 checkout=$(realpath "$CHECKOUT")
cd "$(dirname "$0")/.."
read -ra cells <<<"$CELLS"
# Red when a verdict is not on record; that is told by the comparison.
"$python" -m matrix run "${cells[@]}" --results "$out/before" || true
"$python" -m matrix run "${cells[@]}" "--$OF" "$checkout" --results "$out/after" || true
status=0
"$python" -m matrix diff "$out/before" "$out/after" --markdown >"$out/diff.md" || status=$?
[ "$status" -le 1 ] || exit "$status"
[ "$status" = 1 ] && echo true >"$out/worse" || echo false >"$out/worse"
