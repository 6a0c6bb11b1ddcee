#!/usr/bin/env bash
# Installs the toolchains of the languages that programs may be written in, as far as they are missing: Debian's
# packages, and what TypeScript needs from npm. A language that cannot be installed is named and left out.
set -euo pipefail
cd "$(dirname "$0")/.."

log=build/languages.log
declare -A packages=(
    [g++]=g++ [javac]=openjdk-17-jdk-headless [node]=nodejs [npm]=npm [php]="php-cli php-mbstring" [ruby]=ruby [lua5.4]=lua5.4
    [perl]=perl [go]=golang-go [rustc]=rustc [bc]=bc
    [mcs]="mono-mcs mono-runtime libmono-system-core4.0-cil libmono-system-numerics4.0-cil"
)

say() { echo "languages: $*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

missing() {
    for program in "${!packages[@]}"; do
        PATH=/usr/bin:/usr/local/bin command -v "$program" >/dev/null || echo "$program"
    done | sort
}

mapfile -t wanted < <(missing)
if [ ${#wanted[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
        mkdir -p build
        say "installing ${wanted[*]} with apt (a minute or two; log: $log)"
        as_root apt-get update >"$log" 2>&1 || true
        for program in "${wanted[@]}"; do
            # shellcheck disable=SC2086 # several packages
            DEBIAN_FRONTEND=noninteractive as_root apt-get install -y --no-install-recommends ${packages[$program]} >>"$log" 2>&1 ||
                say "apt could not install ${packages[$program]}; see $log"
        done
    else
        say "missing: ${wanted[*]}; without apt and root they have to be installed by hand"
    fi
fi

if [ "$(id -u)" = 0 ]; then node_home=/usr/local/lib/rewardranker/node; else node_home=$HOME/.local/share/rewardranker/node; fi
if command -v npm >/dev/null && ! cmp -s requirements/node/package-lock.json "$node_home/installed.json"; then
    mkdir -p build "$node_home"
    say "installing TypeScript into $node_home with npm"
    cp requirements/node/package.json requirements/node/package-lock.json "$node_home"
    if (cd "$node_home" && umask 022 && npm ci --no-audit --no-fund --loglevel=error) >>"$log" 2>&1; then
        cp requirements/node/package-lock.json "$node_home/installed.json"
        chmod -R a+rX "$node_home"
    else
        say "npm could not install TypeScript; see $log"
    fi
fi
