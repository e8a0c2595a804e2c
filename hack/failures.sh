#!/usr/bin/env bash
# What failed, in a few lines at the end of a long log: hack/failures.sh LOG, a log of `go test -v`. Diagnoses, which begin
# with a line of =====, are left out; they stand further up.
set -euo pipefail
log=${1:?log of go test -v}

echo
echo "===== failed tests ====="
grep -E '^ *--- FAIL' "$log" || true
awk '
	FNR == NR { if ($0 ~ /^ *--- FAIL: /) { sub(/^ *--- FAIL: /, ""); sub(/ \([0-9.]+s\)$/, ""); failed[$0] = 1 } next }
	/^=== (RUN|NAME|CONT) / { name = $3; skip = 0; next }
	/^ *--- |^=== / { skip = 0; name = ""; next }
	/^ +[a-z_0-9]+_test\.go:[0-9]+:/ { skip = 0; lines = 0 }
	/^ *=====/ { skip = 1 }
	(name in failed || /^panic: /) && !skip && lines++ < 12 { print substr($0, 1, 400) }
' "$log" "$log" | tail -n 40
