#!/usr/bin/env bash
# Puts Prometheus into build/prometheus if there is none on PATH: Debian's package, unpacked and not installed, because an
# installed one would start a server of its own. Without it the test against a real Prometheus is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "prometheus: $*"; }

if command -v prometheus >/dev/null || [ -x build/prometheus ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "missing; without apt it has to be installed by hand"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
log=$folder/log
fetch() { (cd "$folder" && apt-get download prometheus) >>"$log" 2>&1; }
if ! fetch; then
    { [ "$(id -u)" = 0 ] && apt-get update || sudo -n apt-get update; } >>"$log" 2>&1 || true
    fetch || { tail -n 3 "$log"; say "apt has no package for it"; exit 0; }
fi
dpkg-deb -x "$folder"/prometheus_*.deb "$folder/unpacked"
mkdir -p build
cp "$folder"/unpacked/usr/bin/prometheus "$folder"/unpacked/usr/bin/promtool build/
say "$(build/prometheus --version 2>&1 | head -n 1)"
