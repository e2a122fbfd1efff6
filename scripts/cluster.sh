#!/usr/bin/env bash
# Runs three nodes of order-system on one store, to watch.
#
# Usage: cluster.sh run redis|nats|nats3 [FLAG …]
#        from another terminal: cluster.sh kill|start node 2|3, and with nats3: cluster.sh kill|start server 1|2|3, cluster.sh kill leader
#
# The nodes listen on ports 5000, 5001 and 5002. The store's server is started when none answers, and ends with the
# first node; nats3 starts three that keep the log together. `kill` ends one as a crash does, `start` brings it back.
set -euo pipefail
cd "$(dirname "$0")/.."

directory=$PWD/data/cluster
target=${CARGO_TARGET_DIR:-target}
# The NATS that scripts/nats-server.sh installed comes first.
PATH=$(realpath -m "$target")/tools/nats/bin:$PATH:/usr/sbin
usage() { sed -n '4,5s/^# //p' scripts/cluster.sh >&2; exit 2; }
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# end_all NAME …: ends what runs under these names.
end_all() { for name in "$@"; do kill "$(cat "$directory/$name.pid" 2>/dev/null)" 2>/dev/null || true; done; }

# node N: runs a node, the second and third with the flags of the first.
node() {
  local flags
  mapfile -t flags <"$directory/flags"
  setsid "$target/release/order-system" --cluster --node-id "node-$1" --port $((4999 + $1)) \
    "${flags[@]}" >>"$directory/node-$1.log" 2>&1 &
  echo $! >"$directory/node-$1.pid"
}

# server N: runs one of three NATS servers, which sync before they answer.
server() {
  cat >"$directory/server-$1.conf" <<END
server_name: server-$1
listen: "127.0.0.1:$((4221 + $1))"
http: "127.0.0.1:$((8221 + $1))"
log_file: "$directory/server-$1.log"
jetstream { store_dir: "$directory/server-$1", sync_interval: always }
cluster {
  name: order-system
  listen: "127.0.0.1:$((6221 + $1))"
  routes: ["nats://127.0.0.1:6222", "nats://127.0.0.1:6223", "nats://127.0.0.1:6224"]
}
END
  setsid nats-server -c "$directory/server-$1.conf" &
  echo $! >"$directory/server-$1.pid"
}

# leader: which server leads the log, as any of them knows.
leader() {
  local port streams
  for port in 8222 8223 8224; do
    streams=$(curl -sf "http://127.0.0.1:$port/jsz?accounts=1&streams=1" | tr -d ' \n') || continue
    sed -n 's/.*"name":"catga",[^]]*"leader":"server-\([123]\)".*/\1/p' <<<"$streams"
    return
  done
}

# The nodes need the servers until they have ended.
finish_three() {
  local n
  end_all node-1 node-2 node-3
  for n in 1 2 3; do timeout 25 tail --pid="$(cat "$directory/node-$n.pid")" -f /dev/null || true; done
  end_all server-1 server-2 server-3
}

run_on_three_servers() {
  cargo build --release --package order-system
  local n port urls monitors
  urls=nats://127.0.0.1:4222,nats://127.0.0.1:4223,nats://127.0.0.1:4224
  monitors=127.0.0.1:8222,127.0.0.1:8223,127.0.0.1:8224
  for port in 4222 4223 4224; do
    ! answers "$port" || { echo "something listens on port $port already" >&2; exit 1; }
  done
  for n in 1 2 3; do server "$n"; done
  trap finish_three EXIT
  printf '%s\n' --persistence nats --nats "$urls" --nats-replicas 3 --nats-monitor "$monitors" \
    --require-durability power-loss,server-loss "$@" >"$directory/flags"
  for n in 1 2 3; do node "$n"; done
  until answers 5000 && answers 5001 && answers 5002; do
    kill -0 "$(cat "$directory/node-1.pid")" 2>/dev/null || { tail -n 3 "$directory/node-1.log" >&2; exit 1; }
    sleep 0.2
  done
}

case ${1-} in
  run)
    store=${2-}
    case $store in redis | nats | nats3) ;; *) usage ;; esac
    shift 2
    mkdir -p "$directory"
    trap 'exit 130' INT TERM HUP
    if [ "$store" = nats3 ]; then
      run_on_three_servers "$@"
      echo 'three nodes on http://127.0.0.1:5000, :5001 and :5002, on three servers; their logs are in data/cluster'
      echo 'from another terminal: just cluster-kill leader, just cluster-start server 1, and curl http://127.0.0.1:5000/cluster'
      wait
      exit
    fi
    printf '%s\n' --persistence "$store" "$@" >"$directory/flags"
    scripts/run-with.sh "$store" --cluster --node-id node-1 --port 5000 "$@" &
    first=$!
    finish() {
      end_all node-2 node-3
      kill -TERM "$first" 2>/dev/null || true
      wait "$first" || true
    }
    trap finish EXIT
    until answers 5000; do
      kill -0 "$first" 2>/dev/null || exit 1
      sleep 0.2
    done
    node 2
    node 3
    echo "three nodes on http://127.0.0.1:5000, :5001 and :5002; the logs of the second and third are in data/cluster"
    echo 'from another terminal: just cluster-kill, and curl http://127.0.0.1:5000/cluster'
    wait "$first"
    ;;
  kill | start)
    [ "${2-}" != leader ] || { [ "$1" = kill ] && set -- kill server "$(leader)"; } || usage
    case ${2-}-${3-} in node-2 | node-3 | server-1 | server-2 | server-3) ;; *) usage ;; esac
    name=$2-$3
    pid=$(cat "$directory/$name.pid" 2>/dev/null) || { echo "no $name runs: just cluster" >&2; exit 1; }
    if [ "$1" = start ]; then
      "$2" "$3"
      echo "$name starts; its log is data/cluster/$name.log"
    else
      kill -KILL "$pid"
      echo "$name is dead; the others go on"
    fi
    ;;
  *) usage ;;
esac
