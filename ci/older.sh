#!/usr/bin/env bash
# Takes a checkout of the branch `history` apart: a folder of results for each of its runs, the newest first.
set -euo pipefail
history=$1 out=$2
mkdir -p "$out"
[ -d "$history/.git" ] || exit 0 # the first run
git -C "$history" log --format=%H | while read -r commit; do
    mkdir "$out/$commit"
    git -C "$history" archive "$commit" results | tar --extract --directory "$out/$commit" --strip-components 1
done
