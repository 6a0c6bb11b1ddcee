"""A real Prometheus, with the configuration that is delivered, reads a running job and answers the dashboard."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from actors.metrics import METRICS, PREFIX
from tests.system.test_whole_loop import command

ROOT = Path(__file__).parent.parent.parent
PROMETHEUS = shutil.which("prometheus") or shutil.which("prometheus", path=str(ROOT / "build"))
RARE = {  # nothing of this kind happens in a short run that nobody disturbs
    "worker_deaths_total", "learner_deaths_total", "calls_redelivered_total", "batches_total",
    "sandbox_faults_total", "sandbox_retried_total", "groups_dropped_total", "groups_trained_twice_total",
    "false_favourites_total", "hard_pairs_total",
}  # fmt: skip

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROMETHEUS is None, reason="no Prometheus on PATH, and `make prometheus` could not get one"),
]


@pytest.fixture(scope="module")
def folder():
    """Short, because Ray's sockets are in it."""
    folder = Path(tempfile.mkdtemp(prefix="rr"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ask(folder):
    """A Prometheus of our own, which looks for Ray's discovery file below `folder`. Asks it by a path of its API."""
    configuration = (ROOT / "dashboards" / "prometheus.yml").read_text()
    for delivered, here in (("[/tmp/ray/", f"[{folder}/ray/"), ("scrape_interval: 5s", "scrape_interval: 1s")):
        assert delivered in configuration
        configuration = configuration.replace(delivered, here)
    (folder / "prometheus.yml").write_text(configuration)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [
        f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("w") as log:
        server = subprocess.Popen([str(PROMETHEUS), *arguments], stdout=log, stderr=subprocess.STDOUT)

    def ask(path: str, **parameters: str) -> list:
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        answer = json.loads(urllib.request.urlopen(url, timeout=30).read())
        assert answer["status"] == "success", answer
        return answer["data"]

    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                ask("status/buildinfo")
                break
            assert server.poll() is None and time.monotonic() < deadline, (folder / "prometheus.log").read_text()
            time.sleep(0.2)
        yield ask
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.timeout(600)
def test_prometheus_has_the_metrics_of_a_running_job(folder, ask):
    environment = {**os.environ, "RAY_TMPDIR": str(folder), "RAY_metrics_report_interval_ms": "1000"}
    run_dir = folder / "small"
    job = subprocess.Popen(
        command(run_dir, **{"cluster.dashboard": "true"}), env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        output, _ = job.communicate(timeout=500)
    finally:
        job.kill()
    assert job.returncode == 0, output

    def value(expression: str) -> float:
        (found,) = ask("query", query=expression)["result"]
        return float(found["value"][1])

    names = set(ask("label/__name__/values"))
    for metric in METRICS:
        series = f"ray_{PREFIX}{metric.name}" + ("_bucket" if metric.kind == "histogram" else "")
        assert series in names or metric.name in RARE, metric
    at = f'ray_{PREFIX}%s{{run="small"}}[1h]'
    report = json.loads((run_dir / "report.json").read_text())
    for series, at_the_end in (  # what came after the last scrape is missing
        ("samples_total", report["counts"]["samples"]),
        ("verdicts_total", sum(report["counts"]["verdicts"].values())),
        ("staleness_versions_count", report["invariant"]["trained"] * 6),  # samples of a group
        ("stage_worker_seconds_total", 6 * report["wall_seconds"]),  # stages with a worker each
    ):
        assert 0 < value(f"sum(max_over_time({at % series}))") <= at_the_end, series
    assert 1 < value(f"max(max_over_time({at % 'model_version'}))") <= 7

    dashboard = json.loads((ROOT / "dashboards" / "grafana.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert targets
    for target in targets:
        expression = target["expr"].replace("$__rate_interval", "1h").replace("$run", ".+")
        window = {"start": str(time.time() - report["wall_seconds"]), "end": str(time.time()), "step": "5"}
        answer = ask("query_range", query=expression, **window)["result"]
        assert answer or any(name in target["expr"] for name in RARE), target
