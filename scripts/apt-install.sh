#!/usr/bin/env bash
# Installs Debian or Ubuntu packages, as root or through sudo. Usage: apt-install.sh PACKAGE …
set -euo pipefail
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"
