from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from actors.crew import ROLES

FILE = Path(__file__).parent.parent / "cluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def test_ray_accepts_the_cluster_file(cluster: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert set(prepared["available_node_types"]) == set(cluster["available_node_types"])


def test_ray_refuses_a_field_that_it_does_not_know(cluster: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="head_commands"):
        validate_config(prepare_config({**cluster, "head_commands": []}))


def test_every_role_has_a_node_that_offers_its_resource(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"].values()
    assert {role for kind in types for role in kind["resources"]} == set(ROLES)
    started = [kind for name, kind in cluster["available_node_types"].items()
               if name == cluster["head_node_type"] or kind.get("min_workers", 0)]  # fmt: skip
    assert {role for kind in started for role in kind["resources"]} == set(ROLES)


def test_the_variant_for_machines_of_ones_own_is_accepted_as_described(cluster: dict[str, Any]) -> None:
    comments = [line.strip()[1:] for line in FILE.read_text().splitlines() if line.strip().startswith("#")]
    lines = [line for line in comments if line.strip().startswith(("type: local", "head_ip:", "worker_ips:"))]
    cluster["provider"] = yaml.safe_load("\n".join(lines))
    for field in ("available_node_types", "head_node_type", "max_workers"):
        assert f"`{field}`" in FILE.read_text()
        del cluster[field]
    validate_config(prepare_config(cluster))
