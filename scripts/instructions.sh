#!/usr/bin/env bash
# Fails when a command takes more than a tenth more instructions than scripts/instructions.txt says: that is stable where
# seconds are not. With --bless it writes what it counts there.
set -euo pipefail
cd "$(dirname "$0")/.."
figures=scripts/instructions.txt
cargo build --locked --release --package catga-instructions --jobs "${CARGO_BUILD_JOBS:-2}"
program=${CARGO_TARGET_DIR:-target}/release/catga-instructions

# count WHAT N: the instructions of a whole run
count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 | awk '/Collected/ { print $NF }'
}

# each WHAT COMMANDS: a command's, without start and stop
each() { echo $((($(count "$1" 6000) - $(count "$1" 2000)) / (4000 * $2))); }

failed=0
report() {
  local name=$1 counted=$2 known
  known=$(awk -v name="$name" '$1 == name { print $2 }' "$figures")
  if [ "${bless:-}" ]; then
    sed -i "s/^$name .*/$name $counted/" "$figures"
  elif [ "$counted" -gt $((known * 11 / 10)) ]; then
    echo "✗ $name: $counted instructions, and $figures says $known"
    failed=1
    return
  fi
  echo "✓ $name: $counted instructions (${known})"
}

[ "${1:-}" != --bless ] || bless=yes
report send "$(each send 1)"
report cycle "$(each cycle 3)"
exit "$failed"
