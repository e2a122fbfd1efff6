#!/usr/bin/env bash
# Makes the Python environment that a tool is installed into, and prints its path. Usage: python-tools.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${CARGO_TARGET_DIR:-target}/tools/$1
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)
# Debian's python3 comes without what makes an environment, and leaves half of one behind when it fails.
make_environment() { python3 -m venv "$tools" >/dev/null 2>&1 && [ -x "$tools/bin/pip" ]; }
if [ ! -x "$tools/bin/pip" ]; then
  command -v python3 >/dev/null || scripts/apt-install.sh python3 >&2
  make_environment || { scripts/apt-install.sh python3-venv >&2; python3 -m venv --clear "$tools" >&2; }
fi
echo "$tools"
