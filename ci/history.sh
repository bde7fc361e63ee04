#!/usr/bin/env bash
# Makes a folder the next commit of a branch: trimmed results of `history`, or with a second argument (finds) of a branch
# of that name, as the site takes each commit of `history` for a week. TOKEN and REPOSITORY say where. It has the right to
# write, so it runs nothing but git, and the token stands in no argument and no file.
set -euo pipefail
kept=$(realpath "$1")
name=${2:-results} branch=${2:-history}
address=$GITHUB_SERVER_URL/$REPOSITORY.git
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2016 # git's own shell reads the variable
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=credential.helper GIT_CONFIG_VALUE_0= GIT_CONFIG_KEY_1=credential.helper \
    GIT_CONFIG_VALUE_1='!f() { echo username=x-access-token; echo "password=$TOKEN"; }; f' GIT_TERMINAL_PROMPT=0

if ! git clone --quiet --depth 1 --branch "$branch" "$address" "$work/history"; then
    git init --quiet --initial-branch "$branch" "$work/history" # the first run
    git -C "$work/history" remote add origin "$address"
fi
rm -rf "$work/history/${name:?}"
cp -R "$kept" "$work/history/$name"
git -C "$work/history" add --all
git -C "$work/history" -c user.name=matrix -c user.email=matrix@localhost commit --quiet --allow-empty \
    --message "${name^} of $(date --utc +%Y-%m-%d)"
git -C "$work/history" push --quiet origin "$branch"
