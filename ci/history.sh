#!/usr/bin/env bash
# Keeps the results of a run, without evidence, as one more commit of the branch `history`. TOKEN and REPOSITORY say where.
set -euo pipefail
cd "$(dirname "$0")/.."
results=$1
address=https://x-access-token:$TOKEN@${GITHUB_SERVER_URL#https://}/$REPOSITORY.git
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! git clone --quiet --depth 1 --branch history "$address" "$work/history"; then
    git init --quiet --initial-branch history "$work/history" # the first run
    git -C "$work/history" remote add origin "$address"
fi
# A cell that failed this time keeps its older result; what is not planned any more goes after some weeks.
python -m matrix results trim "$work/history/results" "$results" --drop-older 35
git -C "$work/history" add --all
git -C "$work/history" -c user.name=matrix -c user.email=matrix@localhost commit --quiet --allow-empty \
    --message "Results of $(date --utc +%Y-%m-%d)"
git -C "$work/history" push --quiet origin history
