#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given: fuzz.sh 10s
set -euo pipefail
[ $# = 1 ] || { sed -n '2p' "$0" >&2; exit 2; }
grep -rl --include='*_test.go' --exclude-dir=test '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
  for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | cut -c6- | sort -u); do
    echo "fuzz $dir $target for $1"
    # Minimising is bounded, because its time is not part of -fuzztime.
    go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 10x </dev/null
  done
done
