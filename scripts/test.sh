#!/usr/bin/env bash
# The whole check of the project: what README, `just test` and CI run.
#
# It needs Rust, and installs the rest itself: a linker, curl, FUSE, Valgrind, libfaketime, Python's redis and the servers that the
# tests start from Debian or Ubuntu when they are missing, the newest NATS and the schema checker into target/. A server that such a package
# starts by itself is not used. Whatever fails, the other steps still run. It ends with a line that counts
# the tests; a step that fails without a failed test counts as one.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
# Debian keeps nats-server where not every user's PATH leads.
PATH=$PATH:/usr/sbin

jobs=${CARGO_BUILD_JOBS:-2}
target=${CARGO_TARGET_DIR:-target}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed_steps=0

# step NAME COMMAND …
step() {
  printf '\n== %s\n' "$1"
  local name=$1
  shift
  "$@" || { echo "== failed: $name"; failed_steps=$((failed_steps + 1)); }
}

tools() {
  local missing=()
  command -v cc >/dev/null || missing+=(build-essential)
  command -v curl >/dev/null || missing+=(curl ca-certificates)
  # The tests start servers of their own. Redis has to be 7.0 or newer: Debian 12, Ubuntu 24.04.
  command -v redis-server >/dev/null || missing+=(redis-server)
  command -v nats-server >/dev/null || missing+=(nats-server)
  command -v fusermount3 >/dev/null || missing+=(fuse3)
  command -v valgrind >/dev/null || missing+=(valgrind)
  # For clocks that jump.
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
  # For the consumer in docs/cluster.md.
  /usr/bin/python3 -c 'import redis' 2>/dev/null || missing+=(python3-redis)
  [ "${#missing[@]}" -eq 0 ] || scripts/apt-install.sh "${missing[@]}" || return
  NATS_SERVER_NEWEST=$(scripts/nats-server.sh) || return
  export NATS_SERVER_NEWEST
}
tests() {
  # It builds order-system and the examples before any test runs; the end-to-end tests start these very programs. A build of
  # their packages alone would have other features, and compile the dependencies twice.
  cargo test --locked --workspace --jobs "$jobs" --no-fail-fast 2>&1 | tee "$log"
}
documentation() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --jobs "$jobs"; }

step 'tools' tools
step 'format' cargo fmt --all --check
step 'lints' cargo clippy --locked --workspace --all-targets --jobs "$jobs" -- -D warnings
step 'tests and doctests' tests
step 'documentation' documentation
step 'the life cycle over HTTP, and every answer against the OpenAPI document' \
  scripts/http-checks.sh "$target/debug/order-system"

step 'instructions per command' scripts/instructions.sh

passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
failed=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
if [ "$failed" -eq 0 ]; then failed=$failed_steps; fi
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed_steps" -eq 0 ]
