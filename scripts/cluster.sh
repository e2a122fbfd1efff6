#!/usr/bin/env bash
# Runs three nodes of order-system on one store, to watch.
#
# Usage: cluster.sh run redis|nats [FLAG …]   or, from another terminal: cluster.sh kill 2|3   cluster.sh start 2|3
#
# The nodes listen on ports 5000, 5001 and 5002. The store's server is started when none answers, and ends with the
# first node. `kill` ends a node as a crash does, `start` brings it back.
set -euo pipefail
cd "$(dirname "$0")/.."

directory=$PWD/data/cluster
usage() { sed -n '4s/^# //p' scripts/cluster.sh >&2; exit 2; }
# node N: runs node 2 or 3 with the flags of the first.
node() {
  local flags
  mapfile -t flags <"$directory/flags"
  setsid "${CARGO_TARGET_DIR:-target}/release/order-system" --cluster --node-id "node-$1" --port $((4999 + $1)) \
    "${flags[@]}" >>"$directory/node-$1.log" 2>&1 &
  echo $! >"$directory/node-$1.pid"
}
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

case ${1-} in
  run)
    store=${2-}
    case $store in redis | nats) ;; *) usage ;; esac
    shift 2
    mkdir -p "$directory"
    printf '%s\n' --persistence "$store" "$@" >"$directory/flags"
    scripts/run-with.sh "$store" --cluster --node-id node-1 --port 5000 "$@" &
    first=$!
    finish() {
      for n in 2 3; do kill "$(cat "$directory/node-$n.pid" 2>/dev/null)" 2>/dev/null || true; done
      kill -TERM "$first" 2>/dev/null || true
      wait "$first" || true
    }
    trap finish EXIT
    trap 'exit 130' INT TERM HUP
    until answers 5000; do
      kill -0 "$first" 2>/dev/null || exit 1
      sleep 0.2
    done
    node 2
    node 3
    echo "three nodes on http://127.0.0.1:5000, :5001 and :5002; the logs of the second and third are in data/cluster"
    echo 'from another terminal: just cluster-kill 2, and curl http://127.0.0.1:5000/cluster'
    wait "$first"
    ;;
  kill | start)
    case ${2-} in 2 | 3) ;; *) usage ;; esac
    pid=$(cat "$directory/node-$2.pid" 2>/dev/null) || { echo 'no cluster runs: just cluster' >&2; exit 1; }
    if [ "$1" = start ]; then
      node "$2"
      echo "node-$2 starts; its log is data/cluster/node-$2.log"
    else
      kill -KILL "$pid"
      echo "node-$2 is dead; within the lease time, 5 seconds, the others have its work"
    fi
    ;;
  *) usage ;;
esac
