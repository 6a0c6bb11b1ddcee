"""Trip-wires in a folder: whoever comes first to a place where one lies takes it away, and what it says is done to it.

A place is a kind of actor and a state of it, such as `executor.lease`; a wire says `kill`, `stop`, `sleep` or `hold`,
which lasts until it is released, or `slow`, which stays where it is and holds everybody up a little.
Processes find the folder by the environment variable CHAOS_WIRES, which the Ray of the tests is started with.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

VARIABLE = "CHAOS_WIRES"
_SLOW_SECONDS = 0.5
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def lay(place: str, action: str = "kill") -> None:
    aside = _folder() / f"{place}.part"
    aside.write_text(action)
    aside.rename(_folder() / place)


def tripped(place: str) -> bool:
    """Whether an actor came to the wire that was laid there."""
    return (_folder() / f"{place}.tripped").exists()


def release(place: str) -> None:
    """Let whoever is held there go on."""
    (_folder() / f"{place}.tripped").unlink()


def clear() -> None:
    """End whoever still hangs at a wire, and take all wires away."""
    for path in _folder().iterdir():
        if path.suffix == ".tripped" and (pid := path.read_text()):
            try:
                if "ray::Faulty" in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(int(pid), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass
        path.unlink()


def pass_by(place: str) -> None:
    """To be called by an actor that is at `place`."""
    wire = _folder() / place
    try:
        action = wire.read_text()
        if action == "slow":
            time.sleep(_SLOW_SECONDS)
            return
        tripped = wire.rename(wire.with_name(f"{place}.tripped"))
    except FileNotFoundError:
        return
    tripped.write_text(str(os.getpid()))
    if action == "sleep":
        time.sleep(3600)
    if action == "hold":
        while tripped.exists():
            time.sleep(0.02)
        return
    os.kill(os.getpid(), _SIGNALS[action])


def _folder() -> Path:
    return Path(os.environ[VARIABLE])
