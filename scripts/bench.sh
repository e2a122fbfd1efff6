#!/usr/bin/env bash
# Measures what catga costs over limits taken in the same run. Usage: bench.sh [PROGRAM …], all without a name.
# The tables are printed, and kept as JSON in target/bench.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
programs=("$@")
[ ${#programs[@]} -gt 0 ] || programs=(commands http overload stores reads handlers orders)
NATS_SERVER_NEWEST=$(scripts/nats-server.sh)
export NATS_SERVER_NEWEST
cargo build --release --package catga-bench --package order-system
for program in "${programs[@]}"; do
  "${CARGO_TARGET_DIR:-target}/release/$program"
done
