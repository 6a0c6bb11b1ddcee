"""What a finished run leaves behind: the report, the trace, and where to look next."""

from __future__ import annotations

import dataclasses
import time

from rich.console import Console

from actors.admission import Admission
from actors.stages import Counts
from actors.supervisor import Supervisor
from actors.telemetry import Timeline
from actors.training import Training
from roles.ranking import report as reports
from roles.ranking import table
from roles.ranking.report import Report
from roles.ranking.rewards import rankings
from roles.ranking.statistics import Bootstrap
from roles.ranking.table import EvaluatedPolicy
from roles.run_folder import Run


def write_report(
    run: Run,
    evaluated: list[EvaluatedPolicy],
    timeline: Timeline,
    admission: Admission,
    counts: Counts,
    supervisor: Supervisor,
    training: Training,
    memory: int,
) -> Report:
    """Write `report.json`, which also marks the run as complete."""
    config = run.config
    bootstrap = Bootstrap(config.evaluation.problems, config.evaluation.bootstrap_draws, config.seed)
    rows, differences = reports.table_records(
        table.rows(evaluated, bootstrap, config.seed), table.differences(evaluated, bootstrap)
    )
    report = Report(
        suite=config.suite,
        seed=config.seed,
        problems=config.evaluation.problems,
        wall_seconds=time.time() - timeline.start,
        peak_memory_bytes=memory,
        stages=timeline.stages(),
        weights=timeline.taken_up(),
        invariant=admission.invariant(),
        counts={
            "samples": counts.samples, "tokens": counts.tokens, "verdicts": dict(counts.verdicts),
            "pairs": counts.pairs, "hard_pairs": counts.hard_pairs, "false_favourites": counts.false_favourites,
            "executors": {name: dataclasses.asdict(load) for name, load in counts.executors.items()},
            "worker_deaths": dict(supervisor.deaths), "learner_deaths": dict(training.revivals),
            "redelivered": supervisor.redelivered, "resumed": counts.resumed, "lost": counts.lost,
            "quarantined": counts.quarantined, "moves": counts.moves,
        },
        table=rows,
        differences=differences,
        ranking=reports.ranking_records(rankings(evaluated)),
    )  # fmt: skip
    reports.write(report, run.report)
    return report


def show(run: Run, report: Report, dashboard: str, console: Console) -> None:
    if run.config.simulate is not None:
        console.print("simulated: nothing was sampled, executed or learnt, and the table of the report means nothing")
    else:
        reports.show(report.table, report.differences, report.suite, report.problems, report.seed, console)
        reports.show_ranking(report.ranking, console)
    console.print(f"groups: {report.invariant}; pairs {report.counts['pairs']} ({report.counts['hard_pairs']} hard)")
    console.print(f"{report.wall_seconds:.0f} s, {report.peak_memory_bytes / 2**30:.1f} GiB at most")
    console.print(f"report       {run.report}\ntrace        {run.timeline} (Perfetto or chrome://tracing)")
    console.print(f"TensorBoard  {run.folder / 'tensorboard'}\nmodels       {run.folder / 'models'}")
    if dashboard:
        console.print(f"dashboard    http://{dashboard} while a run is up")
