#!/usr/bin/env bash
# Lets faults loose on a cluster of three nodes and its store, on Redis and on NATS, and judges the history.
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
NATS_SERVER_NEWEST=$(scripts/nats-server.sh)
export NATS_SERVER_NEWEST CATGA_SECONDS=$((minutes * 60)) CATGA_SEED=$seed
cargo build --package order-system
exec cargo test --package catga-tests --test promises nemesis -- --nocapture --test-threads 1
