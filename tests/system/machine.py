"""Machines of one's own to try a cluster on: own processes, network, home and /tmp/ray, reached by ssh.

Each is a set of Linux namespaces. `ray stop` on one ends no Ray elsewhere, its ports are nobody else's, and when its
first process ends, the kernel ends all the others. From it no other is reached than the one that it is connected to.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest

BEGIN = """
set -e
ip link set lo up
mkdir -p /run/sshd /tmp/ray
mount --bind {folder}/ray /tmp/ray
mount --bind {folder}/passwd /etc/passwd
/usr/sbin/sshd -D -f {folder}/sshd_config &
touch {folder}/ready
wait  # and with that, bury what others leave behind
"""
SSHD = """
ListenAddress 0.0.0.0
HostKey {folder}/host_key
AuthorizedKeysFile {key}.pub
PidFile none
StrictModes no
UsePAM no
SetEnv LANG=C.UTF-8
"""


class Machine:
    """Raises `pytest.skip.Exception` where there is no sshd, rsync, or right to make namespaces."""

    def __init__(self, folder: Path, address: str, key: Path) -> None:
        """`folder` is its disk; whoever has `key` comes in. It is there, but not on a network with any other."""
        needed = ("/usr/sbin/sshd", "ssh", "ssh-keygen", "rsync", "unshare", "nsenter", "ip")
        if missing := [program for program in needed if shutil.which(program) is None]:
            pytest.skip(f"needs {', '.join(missing)}; scripts/cluster_tools.sh installs them")
        if os.geteuid() != 0:
            pytest.skip("only root may make namespaces and run sshd for others")
        self.home, self.ray, self.address = folder / "home", folder / "ray", address
        for path in (self.home, self.ray):
            path.mkdir(parents=True)
        for path in (key, folder / "host_key"):
            if not path.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
        (folder / "passwd").write_text("\n".join([f"root:x:0:0:root:{self.home}:/bin/bash", *others, ""]))
        (folder / "sshd_config").write_text(SSHD.format(folder=folder, key=key))
        self._outer = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
             "bash", "-c", BEGIN.format(folder=folder)],
        )  # fmt: skip
        while not (folder / "ready").exists():
            assert self._outer.poll() is None, "the machine did not come up"
            time.sleep(0.05)
        (first,) = psutil.Process(self._outer.pid).children()
        self._first = first.pid
        self._enter = ["nsenter", "--target", str(self._first), "--mount", "--net", "--pid"]

    def connect(self, other: "Machine") -> None:
        """A cable from this machine to another."""
        self._ip(f"link add cable type veth peer name cable netns {other._first}")
        for machine in (self, other):
            machine._ip(f"address add {machine.address}/24 dev cable")
            machine._ip("link set cable up")
            machine._ip("route add default dev cable")  # Ray takes this one's address for its own

    def start(
        self, command: Sequence[str], cwd: Path, temporary: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """A process of somebody who sits at this machine, but has a home and a /tmp/ray of his own."""
        apart = ["unshare", "--mount", "bash", "-c", f'mount --bind {temporary} /tmp/ray && exec "$@"', "bash"]
        return subprocess.Popen(
            [*self._enter, f"--wd={cwd}", *apart, *command], env=dict(environment), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def processes(self) -> list[str]:
        """Command lines of all that runs on it."""
        listed = subprocess.run([*self._enter, "ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True)
        return [line.split(maxsplit=1)[1] for line in listed.stdout.splitlines() if not line.startswith("Z")]

    def close(self) -> None:
        self._outer.kill()
        self._outer.wait()

    def _ip(self, what: str) -> None:
        subprocess.run(["nsenter", "--target", str(self._first), "--net", "ip", *what.split()], check=True)
