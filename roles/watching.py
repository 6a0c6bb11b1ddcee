"""What a run is doing, as another process sees it: once or until it ends, for a person or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live

from roles.run_folder import Run
from roles.run_status import table

_SECONDS = 0.5


def show(run: Run, console: Console, watch: bool, as_json: bool) -> None:
    """Print the state and the facts of `run`; with `watch` each time that they change, while it is running."""
    if as_json:
        for _ in _changes(run, watch):
            print(json.dumps(as_object(run)), flush=True)
    elif watch and console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for _ in _changes(run, watch):
                live.update(_text(run), refresh=True)
    else:
        for _ in _changes(run, watch):
            console.print(_text(run), soft_wrap=True)


def as_object(run: Run) -> dict[str, object]:
    """`run`, `state`, and of what it last noted `time` and `facts`, or null. Raises `ConfigError`."""
    noted = run.noted
    return {
        "run": str(run.folder),
        "state": run.state,
        "time": noted.time if noted else None,
        "facts": noted.facts.model_dump(mode="json") if noted else None,
    }


def _changes(run: Run, watch: bool) -> Iterator[None]:
    """Once, and with `watch` again each time that the run noted something or its state changed, until it ended."""
    seen: object = None
    while True:
        state, noted = run.state, run.noted
        now = state, noted.time if noted else 0.0
        if now != seen:
            seen = now
            yield
        if not watch or state != "running":
            return
        time.sleep(_SECONDS)


def _text(run: Run) -> RenderableType:
    state = "broken off; run it again to continue" if run.state == "broken off" else run.state
    headline = f"{run.folder}: {state}"
    return Group(headline, table(run.noted.facts)) if run.noted else headline
