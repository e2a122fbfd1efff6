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
# Its programs are built with it: chaos-node is order-system with an effect that can be looked at.
exec cargo test --package catga-tests --test promises nemesis -- --nocapture --test-threads 1
