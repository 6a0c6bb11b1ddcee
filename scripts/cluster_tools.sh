#!/usr/bin/env bash
# Installs what `ray up` needs of a machine, so that a test can have one: an ssh server, ssh, rsync. No server is started.
set -euo pipefail

packages=()
[ -x /usr/sbin/sshd ] || packages+=(openssh-server)
for program in ssh:openssh-client rsync:rsync ip:iproute2 unshare:util-linux; do
    command -v "${program%%:*}" >/dev/null || packages+=("${program#*:}")
done
[ ${#packages[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "cluster tools: missing ${packages[*]}; without apt and root they have to be installed by hand"
    exit 0
fi
mkdir -p build
never=/etc/ssh/sshd_not_to_be_run # Debian's own mark; installing the server would start it
mkdir -p /etc/ssh && touch "$never"
echo "cluster tools: installing ${packages[*]} with apt (log: build/cluster_tools.log)"
apt-get update >build/cluster_tools.log 2>&1 || true
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}" >>build/cluster_tools.log 2>&1 ||
    echo "cluster tools: apt could not install them; see build/cluster_tools.log"
rm -f "$never"
