#!/usr/bin/env bash
# Drives a running server through an order's life, a line a step. Usage: quick-test.sh [URL [OTHER-URL]]
#
# With a second URL, all reads go there: to another node of the cluster.
set -uo pipefail
url=${1:-http://127.0.0.1:5000}
other=${2:-$url}
failures=0
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# check NAME STATUS PATTERN METHOD PATH [JSON [HEADER]]
check() {
  local name=$1 status=$2 pattern=$3 method=$4 path=$5 json=${6-} header=${7-X-Nothing: 0}
  local node=$url
  [ "$method" = GET ] && node=$other
  local args=(-sS -m 10 -o "$body" -w '%{http_code}' -X "$method" -H "$header" "$node$path")
  [ -n "$json" ] && args+=(-H 'Content-Type: application/json' -d "$json")
  local got
  got=$(curl "${args[@]}" 2>&1)
  if [ "$got" = "$status" ] && grep -Eq "$pattern" "$body"; then
    echo "✓ $name"
  else
    failures=$((failures + 1))
    echo "✗ $name: expected $status and $pattern, got $got $(head -c 300 "$body" 2>/dev/null)"
  fi
}
id() { sed -n 's/.*"orderId":"\([^"]*\)".*/\1/p' "$body"; }

command -v curl >/dev/null || { echo "✗ curl is not installed: apt-get install curl"; exit 1; }
order='{"customerId":"quick","items":[{"productId":"p1","name":"Pen","quantity":2,"price":49.99}]}'
key="quick-$$-$(date +%s%N)"

check 'the service tells what it is' 200 '"service":"Catga OrderSystem"' GET /
check 'it is healthy' 200 '"status":"healthy"' GET /health
check 'it is ready' 200 '"status":"healthy"' GET /health/ready
check 'create' 201 '"total":99.98' POST /orders "$order" "Idempotency-Key: $key"
one=$(id)
check 'create again with the same key is the same order' 201 "$one" POST /orders "$order" "Idempotency-Key: $key"
check 'get' 200 '"status":"Pending"' GET "/orders/$one"
check 'ship before pay is refused' 409 'invalid_transition' POST "/orders/$one/ship" '{"trackingNumber":"T-1"}'
check 'pay' 200 '"status":"Paid"' POST "/orders/$one/pay" '{"paymentMethod":"card"}'
check 'pay twice is refused' 409 'invalid_transition' POST "/orders/$one/pay" '{"paymentMethod":"card"}'
check 'ship' 200 '"status":"Shipped"' POST "/orders/$one/ship" '{"trackingNumber":"T-1"}'
check 'deliver' 200 '"status":"Delivered"' POST "/orders/$one/deliver"
check 'the history has the four events' 200 'OrderCreated.*OrderPaid.*OrderShipped.*OrderDelivered' GET "/orders/$one/history"
check 'as it was at version 2' 200 '"status":"Paid"' GET "/orders/$one?version=2"
check 'create another' 201 '"orderId"' POST /orders "$order"
two=$(id)
check 'cancel' 200 '"status":"Cancelled"' POST "/orders/$two/cancel" '{"reason":"changed my mind"}'
check 'the list has both, newest first' 200 "$two.*$one" GET '/orders?customerId=quick&limit=2'
check 'the statistics count them' 200 '"Delivered":[1-9]' GET /stats
check 'an unknown order is not found' 404 'order_not_found' GET /orders/no-such-order
check 'a bad body names the field' 422 'items\[0\].quantity' POST /orders "${order/\"quantity\":2/\"quantity\":0}"
check 'the metrics are there' 200 'catga_handle_seconds' GET /metrics
check 'the cluster shows this node' 200 '"nodes":\[\{' GET /cluster

if [ "$failures" -eq 0 ]; then echo 'all steps passed'; else echo "$failures steps failed"; exit 1; fi
