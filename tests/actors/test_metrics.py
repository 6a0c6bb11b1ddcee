"""Every figure of a job reaches Ray's metrics agent, under the names that docs/metrics.md and the dashboard use."""

import asyncio
import io
import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
import ray
from rich.console import Console

from actors.metrics import METRICS, PREFIX, Metrics, figures
from actors.view import View
from roles import config, run_folder
from tests import jobs

ROOT = Path(__file__).parent.parent.parent
NAMES = {f"ray_{PREFIX}{metric.name}": metric for metric in METRICS}


def test_the_documented_metrics_are_those_that_exist():
    documented = re.findall(rf"^\| \w+ \| `ray_{PREFIX}.*$", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert documented == [
        f"| {metric.kind} | `{name}` | {metric.unit} | {', '.join(f'`{label}`' for label in metric.labels)} "
        f"| {metric.meaning} |"
        for name, metric in NAMES.items()
    ]


def test_names_follow_the_conventions_of_prometheus():
    for name, metric in NAMES.items():
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", name)
        assert name.endswith("_total") == (metric.kind == "counter"), name
        if metric.unit in ("seconds", "bytes", "nats", "versions"):
            assert metric.unit in name.split("_") or metric.name == "reward_model_loss", name


def used_by(expression: str) -> set[str]:
    """Names of metrics, without the endings of a histogram's series."""
    found = set(re.findall(rf"ray_{PREFIX}\w+", expression))
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


def test_the_dashboard_shows_all_metrics_and_no_others():
    dashboard = json.loads((ROOT / "dashboards" / "grafana.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert set().union(*map(used_by, expressions)) == set(NAMES)
    for expression in expressions:
        for name, labels in re.findall(rf"(ray_{PREFIX}\w+)\{{(.*?)\}}", expression):
            metric = NAMES[re.sub(r"_(bucket|count|sum)$", "", name)]
            assert set(re.findall(r"(\w+)=", labels)) <= {"run", *metric.labels}
        for labels in re.findall(r"by \((.*?)\)", expression):
            known = {label for name in used_by(expression) for label in NAMES[name].labels}
            assert set(labels.split(", ")) <= {"run", "le", *known}


def test_the_dashboard_can_be_imported():
    """What Grafana asks for: panels apart from each other in 24 columns, and a data source that can be chosen."""
    dashboard = json.loads((ROOT / "dashboards" / "grafana.json").read_text())
    assert {"title", "uid", "schemaVersion", "templating", "time"} <= set(dashboard)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "run": "query"}
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_figures_are_found_by_path_and_the_undefined_left_out():
    tree = {"a": 1, "b": None, "c": {"x": {"d": 2}, "y": {"d": None}}, "e": {0: {"f": 3}}}
    assert figures(tree, "a") == {(): 1}
    assert figures(tree, "b") == figures(tree, "b.c") == {}
    assert figures(tree, "c.*.d") == {("x",): 2}
    assert figures(tree, "e.*.*") == {("0", "f"): 3}


@pytest.fixture(scope="module")
def own_ray():
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        _system_config={"metrics_report_interval_ms": 1000},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_view_says_what_the_job_does_to_the_console_and_to_its_folder(terminal, own_ray, tmp_path):
    run = run_folder.prepare(config.load(jobs.POCKET, [f"run_dir={tmp_path / 'run'}"]))
    run_folder.begin(run)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)

    async def scenario() -> None:
        job = jobs.sources(run.folder)
        await jobs.work(job)
        view = View(console, job, run)
        view.doing = "working"
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(view.show())
            while "working" not in console.file.getvalue():
                await asyncio.sleep(0.05)
            showing.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 240))
    for part in ("48 (", "62% of 48", "candidates 1/4", "KL 0.020", "GiB"):
        assert part in console.file.getvalue()
    assert run.noted.facts.verdicts == {"passed": 30, "failed": 17, "timeout": 1}
    assert run.noted.facts.peak_memory_bytes >= run.noted.facts.memory_bytes > 0
    assert list((run.folder / "tensorboard").iterdir())


def exported(run: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """What the metrics agent gives Prometheus of a run: name of the series, labels of ours, value."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    ours = {"le", *(label for metric in METRICS for label in metric.labels)}
    for line in urllib.request.urlopen(url, timeout=10).read().decode().splitlines():
        match = re.fullmatch(rf"(ray_{PREFIX}\w+)\{{(.*)\}} (\S+)", line)
        if match and f'run="{run}"' in match[2]:
            labels = frozenset(pair for pair in re.findall(r'(\w+)="(.*?)"', match[2]) if pair[0] in ours)
            found.setdefault(match[1], {})[labels] = float(match[3])
    return found


def test_every_metric_is_exported_with_the_figures_of_the_job(own_ray, tmp_path):
    job, metrics = jobs.sources(tmp_path), Metrics("small")
    metrics.tell(job.facts("working", 0.0, 0, 0))  # all zero: counters take that too
    asyncio.run(jobs.work(job))
    halfway = job.facts("working", 2.0, 1000, 2000)
    metrics.tell(halfway)
    job.counts.samples += 2
    job.counts.trained_by_lag += {0: 5}
    metrics.tell(job.facts("working", 2.0, 1000, 2000))
    deadline = time.monotonic() + 240
    while (found := exported("small")).get(f"ray_{PREFIX}samples_total") != {frozenset(): 50}:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in found} == set(NAMES)
    for name, by_label in (
        ("verdicts_total", {("status", "failed"): 17, ("status", "passed"): 30, ("status", "timeout"): 1}),
        ("model_version", {("model", "policy"): 0, ("model", "reward"): 0}),
        ("stage_items_total", {("stage", stage): 48 for stage in halfway.stages}),
    ):
        assert found[f"ray_{PREFIX}{name}"] == {frozenset({label}): value for label, value in by_label.items()}
    buckets = found[f"ray_{PREFIX}staleness_versions_bucket"]
    assert {dict(labels)["le"]: count for labels, count in buckets.items()} == {
        "0.5": 25, "1.5": 25, "2.5": 37, "3.5": 37, "4.5": 37, "6.5": 37, "8.5": 37, "16.5": 37, "+Inf": 37,
    }  # fmt: skip
    states = found[f"ray_{PREFIX}stage_worker_seconds_total"]
    assert {dict(labels)["state"] for labels in states} >= {"busy", "waiting"}
