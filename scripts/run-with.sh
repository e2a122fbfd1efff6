#!/usr/bin/env bash
# Runs order-system on Redis or NATS. Usage: run-with.sh redis|nats [FLAG …]
#
# A server that answers at the default address is used as it is. Otherwise one is started that syncs before it
# answers, from PATH with its data in data/redis or data/nats, or with docker compose; it ends with order-system.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
# The NATS that scripts/nats-server.sh installed comes first; Debian keeps its own in /usr/sbin.
PATH=$(realpath -m "$target")/tools/nats/bin:$PATH:/usr/sbin
store=${1-}
case $store in
  redis) port=6379 ;;
  nats) port=4222 ;;
  *) echo "usage: run-with.sh redis|nats [FLAG …]" >&2; exit 2 ;;
esac
shift
directory=$PWD/data/$store

answers() { (exec 3<>"/dev/tcp/localhost/$port") 2>/dev/null; }
# nats_config [SETTING]: the server's configuration, with one more setting of JetStream.
nats_config() {
  cat >"$directory/nats.conf" <<END
listen: "127.0.0.1:$port"
http: "127.0.0.1:8222"
log_file: "$directory/nats.log"
jetstream {
  store_dir: "$directory"
  ${1-}
}
END
}

# Built first, so that no server waits for the compiler.
cargo build --release --package order-system

server='' service='' is_composed=''
# shellcheck disable=SC2317  # The trap calls it.
finish() {
  [ -z "$service" ] || kill "$service" 2>/dev/null || true
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server"; } || true
  [ -z "$is_composed" ] || docker compose stop "$store"
}
trap finish EXIT

if answers; then
  echo "using the server that answers at localhost:$port"
elif command -v "$store-server" >/dev/null; then
  mkdir -p "$directory"
  echo "starting $(command -v "$store-server") with its data in data/$store"
  # In a session of its own, out of reach of Ctrl-C: order-system needs it until it has ended.
  case $store in
    redis)
      setsid redis-server --bind 127.0.0.1 --port "$port" --dir "$directory" --logfile "$directory/redis.log" \
        --appendonly yes --appendfsync always --maxmemory-policy noeviction --save '' &
      ;;
    nats)
      nats_config 'sync_interval: always'
      if ! nats-server -t -c "$directory/nats.conf" >/dev/null 2>&1; then
        nats_config
        echo "$(nats-server --version) can't sync before it answers, so a power cut takes orders with it:" \
          'scripts/nats-server.sh installs one that can' >&2
      fi
      # Only the monitoring tells order-system how the server syncs.
      export CATGA_NATS_MONITOR=${CATGA_NATS_MONITOR-localhost:8222}
      setsid nats-server -c "$directory/nats.conf" &
      ;;
  esac
  server=$!
elif docker compose version >/dev/null 2>&1; then
  echo "starting $store with docker compose"
  is_composed=yes
  docker compose up --detach --wait "$store"
else
  echo "nothing answers at localhost:$port, and neither $store-server nor docker compose is installed:" \
    "scripts/apt-install.sh $store-server" >&2
  exit 1
fi

for _ in $(seq 100); do
  answers && break
  [ -z "$server" ] || kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
answers || { echo "the server did not start: see data/$store/$store.log" >&2; exit 1; }

# Also in a session of its own, so that what the terminal or a supervisor sends to all reaches it once, from here.
setsid "$target/release/order-system" --persistence "$store" "$@" &
service=$!
trap 'is_signalled=yes; kill -TERM "$service" 2>/dev/null || true' INT TERM HUP
while
  is_signalled='' status=0
  wait "$service" || status=$?
  [ -n "$is_signalled" ]
do :; done
service=
exit "$status"
