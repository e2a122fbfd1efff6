#!/usr/bin/env bash
# The whole check of the project: what README, `just test` and CI run.
#
# It needs Rust, and installs nothing else by hand: the schema checker goes into target/.
# It ends with a line that counts the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

jobs=${CARGO_BUILD_JOBS:-2}
target=${CARGO_TARGET_DIR:-target}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { printf '\n== %s\n' "$1"; }

step 'format'
cargo fmt --all --check

step 'lints'
cargo clippy --locked --workspace --all-targets --jobs "$jobs" -- -D warnings

step 'tests and doctests'
# The end-to-end tests start this very program.
cargo build --locked --package order-system --jobs "$jobs"
status=0
cargo test --locked --workspace --jobs "$jobs" --no-fail-fast 2>&1 | tee "$log" || status=$?

step 'documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --jobs "$jobs"

step 'the life cycle over HTTP, and every answer against the OpenAPI document'
scripts/http-checks.sh "$target/debug/order-system" || status=$?

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
failed=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$status" -eq 0 ]
