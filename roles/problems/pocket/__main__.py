"""`python -m roles.problems.pocket suite` remakes the suite, `... base` the base model, from a seed."""

from __future__ import annotations

import collections
import logging
from pathlib import Path
from typing import Annotated

import typer

from roles.problems.pocket import base_model
from roles.problems.pocket import suite as suites
from roles.problems.pocket.corpus import composition, make_corpus

app = typer.Typer(add_completion=False, no_args_is_help=True)
Workers = Annotated[int, typer.Option(help="Worker processes; the result does not depend on it.")]


@app.command()
def suite(seed: int = 1, workers: Workers = 2, out: Path = suites.PARQUET) -> None:
    """Make the suite and print its counts and its mutation score on fresh mutants."""
    logging.basicConfig(level=logging.INFO)
    entries = suites.make(seed, workers=workers)
    suites.write(entries, out)
    for split in suites.SPLITS:
        chosen = [entry for entry in entries if entry.problem.split == split]
        lengths = collections.Counter(len(entry.stages) for entry in chosen)
        killed, mutants = sum(e.killed for e in chosen), sum(e.mutants for e in chosen)
        print(
            f"{split}: {len(chosen)} problems, {dict(sorted(lengths.items()))} by stages, "
            f"{sum(len(e.problem.tests) for e in chosen) / len(chosen):.1f} tests each, "
            f"{killed} of {mutants} fresh mutants killed ({killed / mutants:.4f}), "
            f"worst problem {min(e.killed / max(e.mutants, 1) for e in chosen):.3f}"
        )
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


@app.command()
def base(seed: int = 1, programs: int = 60_000, workers: Workers = 2, out: Path = base_model.BASE) -> None:
    """Make the corpus, print what it contains, and pre-train the base model on it."""
    logging.basicConfig(level=logging.INFO)
    corpus = make_corpus(seed, programs, workers)
    for name, share in composition(corpus).items():
        print(f"corpus, {name}: {share:.3f}" if share <= 1 else f"corpus, {name}: {share:.0f}")
    base_model.pretrain(corpus, seed, out)
    print(f"{out}: {sum(file.stat().st_size for file in out.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    app()
