#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given: fuzz.sh 10s
set -euo pipefail
[ $# = 1 ] || { sed -n '2p' "$0" >&2; exit 2; }

said=$(mktemp)
trap 'rm -f "$said"' EXIT

# fuzz DIR TARGET TIME. The go command sometimes takes the end of the time for a failure of whatever runs at that moment, and says
# nothing but "context deadline exceeded" (go.dev/issue/75804). An input that fails, or hangs, it always names and keeps: without one,
# the run is made once more.
fuzz() {
  for last in '' yes; do
    # Minimising is bounded, because its time is not part of -fuzztime.
    go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 10x </dev/null 2>&1 | tee "$said" && return
    if [ "$last" ] || grep -q 'Failing input written to' "$said" || ! grep -q '^ *context deadline exceeded$' "$said"; then
      return 1
    fi
    echo "fuzz $1 $2 again: its time ran out in the middle of an input"
  done
}

grep -rl --include='*_test.go' --exclude-dir=test '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
  for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | cut -c6- | sort -u); do
    echo "fuzz $dir $target for $1"
    fuzz "$dir" "$target" "$1"
  done
done
