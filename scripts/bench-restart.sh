#!/usr/bin/env bash
# How long order-system takes to be ready on a log of many orders, and how much memory then, on each store; and how
# fast the log is copied there. Usage: bench-restart.sh [ORDERS]
#
# The servers are its own, on free ports, and end with it.
set -euo pipefail
cd "$(dirname "$0")/.."
orders=${1:-1000000}
target=${CARGO_TARGET_DIR:-target}
PATH=$PATH:/usr/sbin
cargo build --release --package order-system --bins --examples
program=$target/release/order-system
nats=$(scripts/nats-server.sh)
work=$(mktemp -d)
children=()
trap 'kill "${children[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
seconds() { awk "BEGIN { printf \"%.1f s\", ($(date +%s%N) - $1) / 1e9 }"; }
megabytes() { awk '/VmRSS/ { printf "%d MB", $2 / 1024 }' "/proc/$1/status"; }

# measure NAME FLAG …: until the first answer that says ready
measure() {
  local name=$1 port begin pid
  shift
  port=$(free_port)
  begin=$(date +%s%N)
  "$program" --port "$port" --log warn "$@" >/dev/null 2>&1 &
  pid=$!
  children+=("$pid")
  until curl -sf -o /dev/null "http://127.0.0.1:$port/health/ready"; do
    kill -0 "$pid" || { echo "$name: it ended"; return 1; }
    sleep 0.05
  done
  echo "$name: ready after $(seconds "$begin"), $(megabytes "$pid")"
  kill "$pid"
  wait "$pid" || true
}

"$target/release/examples/seed_orders" "$work/file" "$orders"
echo "file: $(du -sm "$work/file" | cut -f1) MB on disk"
measure file --persistence file --data-dir "$work/file"

copy() {
  local begin
  begin=$(date +%s%N)
  "$program" copy --from "file:$work/file" --to "$1" >/dev/null
  echo "copied to ${1%%:*} and compared in $(seconds "$begin")"
}

port=$(free_port)
redis-server --port "$port" --bind 127.0.0.1 --dir "$work" --save '' --appendonly yes --appendfsync always \
  --maxmemory-policy noeviction >/dev/null &
redis=$!
children+=("$redis")
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
copy "redis://127.0.0.1:$port"
measure redis --persistence redis --redis "127.0.0.1:$port"
echo "redis-server: $(megabytes "$redis")"
kill "$redis"

for name in nats-server "$nats"; do
  port=$(free_port)
  mkdir -p "$work/nats"
  printf 'listen: "127.0.0.1:%s"\njetstream { store_dir: "%s/nats" }\n' "$port" "$work" >"$work/nats.conf"
  "$name" -c "$work/nats.conf" >/dev/null 2>&1 &
  server=$!
  children+=("$server")
  until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.05; done
  echo "$("$name" --version), as it is out of the box"
  copy "nats://127.0.0.1:$port"
  measure nats --persistence nats --nats "nats://127.0.0.1:$port"
  echo "nats-server: $(megabytes "$server")"
  kill "$server"
  wait "$server" 2>/dev/null || true
  rm -rf "$work/nats"
done
