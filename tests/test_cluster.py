"""The cluster files: what Ray, and KubeRay's resource definition, accept, and whether each role finds a place."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from actors.crew import ROLES

ROOT = Path(__file__).parent.parent
CLOUDS = ("cluster.yaml", "clusters/gcp.yaml")
LAUNCHED = (*CLOUDS, "clusters/bare-metal.yaml")  # by `ray up`


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture
def on_kubernetes() -> dict[str, Any]:
    claim, cluster = yaml.safe_load_all((ROOT / "clusters" / "kuberay.yaml").read_text())
    assert claim["kind"] == "PersistentVolumeClaim"
    return cluster


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_accepts_the_cluster_file(name: str) -> None:
    cluster = read(name)
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    if name in CLOUDS:
        assert set(prepared["available_node_types"]) == set(cluster["available_node_types"])


def test_ray_refuses_a_field_that_it_does_not_know() -> None:
    with pytest.raises(Exception, match="head_commands"):
        validate_config(prepare_config({**read("cluster.yaml"), "head_commands": []}))


@pytest.mark.parametrize("name", CLOUDS)
def test_every_role_has_a_node_that_offers_its_resource(name: str) -> None:
    cluster = read(name)
    kinds = cluster["available_node_types"]
    started = [kind for name, kind in kinds.items() if name == cluster["head_node_type"] or kind.get("min_workers", 0)]
    for some in (kinds.values(), started):
        assert {role for kind in some for role in kind["resources"]} - {"CPU", "GPU"} == set(ROLES)


def test_every_role_has_a_machine_of_ones_own() -> None:
    cluster = read("clusters/bare-metal.yaml")
    offered = [
        json.loads(re.search(r"--resources='(.*?\})'", command.replace("'$(nproc --all)'", "8"))[1])
        for start in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[start]
        if "ray start" in command
    ]
    assert set(offered[0]) == set(ROLES), "one machine can do everything"
    assert set(offered[1]) == set(ROLES) - {"learner"}, "the run folder is on the head"


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_files_that_travel_are_the_same_everywhere(name: str) -> None:
    cluster = read(name)
    assert cluster["file_mounts"] == {"~/rewardranker": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    assert {".git/", ".venv/", "runs/"} <= set(cluster["rsync_exclude"])
    assert any("rewardranker/.venv/bin" in command for command in cluster["initialization_commands"])


def test_kuberay_accepts_the_cluster_and_no_other_field(on_kubernetes: dict[str, Any]) -> None:
    schema = read("tests/kuberay.schema.yaml")
    jsonschema.validate(on_kubernetes, schema)
    on_kubernetes["spec"]["autoscalerOptions"]["idleTimeoutSecond"] = 1
    with pytest.raises(jsonschema.ValidationError, match="idleTimeoutSecond"):
        jsonschema.validate(on_kubernetes, schema)


def test_every_role_has_a_pod_on_kubernetes(on_kubernetes: dict[str, Any]) -> None:
    spec = on_kubernetes["spec"]
    offered = [
        json.loads(json.loads(group["rayStartParams"]["resources"]))
        for group in (spec["headGroupSpec"], *(group for group in spec["workerGroupSpecs"] if group["minReplicas"]))
    ]
    assert {role for resources in offered for role in resources} == set(ROLES)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]}


def test_kubernetes_has_the_ray_of_the_images(on_kubernetes: dict[str, Any]) -> None:
    pinned = re.search(r"^ray==(.*)$", (ROOT / "requirements" / "cpu.txt").read_text(), re.MULTILINE)
    assert on_kubernetes["spec"]["rayVersion"] == pinned[1]
