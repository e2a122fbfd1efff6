#!/usr/bin/env bash
# Lets faults loose on a cluster of three nodes and its servers, on Redis and on NATS, judges the history, and looks for what was
# wrong without a word of the nodes.
# Usage: chaos.sh [--minutes N] [--seed S]
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=10 seed=$(date +%s)
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number} ;;
    --seed) seed=${2:?--seed needs a number} ;;
    *) echo "usage: chaos.sh [--minutes N] [--seed S], not $1" >&2; exit 2 ;;
  esac
  shift 2
done
# For clocks that jump.
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || scripts/apt-install.sh libfaketime
NATS_SERVER_NEWEST=$(scripts/nats-server.sh)
export NATS_SERVER_NEWEST CATGA_SECONDS=$((minutes * 60)) CATGA_SEED=$seed
# With the features of the whole workspace, so that nothing that the other tests built is built again.
cargo build --workspace --bins
exec cargo test --workspace --test promises nemesis -- --nocapture --test-threads 1
