#!/usr/bin/env bash
# Starts a server on a free port, drives it through the life cycle, and has schemathesis check that no
# answer is a 5xx or missing from the OpenAPI document. Usage: http-checks.sh path/to/order-system
set -euo pipefail
cd "$(dirname "$0")/.."

binary=$1
work=$(mktemp -d)
"$binary" --port 0 --log warn >"$work/out" 2>"$work/err" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

url=
for _ in $(seq 100); do
  url=$(sed -n 's/^listening on //p' "$work/out")
  [ -n "$url" ] && break
  sleep 0.1
done
[ -n "$url" ] || { echo "the server did not start:"; cat "$work/err"; exit 1; }

scripts/quick-test.sh "$url"
scripts/schemathesis.sh "$url"
