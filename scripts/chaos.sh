#!/usr/bin/env bash
# Lets faults loose on a cluster of three nodes and its servers, on Redis and on NATS, judges the history, and looks for what was
# wrong without a word of the nodes.
# Usage: chaos.sh [--minutes N] [--seed S] [--on redis|nats|nats3|topic]
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=10 seed=$(date +%s) tests=nemesis
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number} ;;
    --seed) seed=${2:?--seed needs a number} ;;
    --on)
      case ${2:-} in
        redis) tests=hold_on_redis ;;
        nats) tests=hold_on_nats ;;
        nats3) tests=hold_on_three_nats_servers ;;
        topic) tests=hold_with_the_transport ;;
        *) echo "--on needs one of redis, nats, nats3 and topic, not '${2:-}'" >&2; exit 2 ;;
      esac
      tests=p1_to_p8_nemesis::p1_to_p8_$tests ;;
    *) echo "usage: chaos.sh [--minutes N] [--seed S] [--on redis|nats|nats3|topic], not $1" >&2; exit 2 ;;
  esac
  shift 2
done
# For clocks that jump.
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || scripts/apt-install.sh libfaketime
NATS_SERVER_NEWEST=$(scripts/nats-server.sh)
export NATS_SERVER_NEWEST CATGA_SECONDS=$((minutes * 60)) CATGA_SEED=$seed
# With the features of the whole workspace, so that nothing that the other tests built is built again.
cargo build --workspace --bins
exec cargo test --workspace --test promises "$tests" -- --nocapture --test-threads 1
