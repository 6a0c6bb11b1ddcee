from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from roles.sampling.engine import EngineSettings, Sampler, SamplingError
from tests.tiny import tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def refuse(folder: Path, *words: str) -> None:
    with pytest.raises(SamplingError) as caught:
        Sampler(folder, EngineSettings())
    for word in (str(folder), "allowed", *words):
        assert word in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    refuse(tmp_path / "nothing", "no such folder")


def test_an_unreadable_config_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    refuse(folder, "config.json")


def test_a_folder_without_weights_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refuse(folder, "*.safetensors")


def test_broken_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"broken")
    refuse(folder, "model.safetensors")


def test_a_folder_without_a_tokenizer_is_named(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refuse(folder, "tokenizer.json")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the limit is the CPU kernels'")
def test_an_unsupported_head_size_is_named_with_those_that_are_supported(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "head_dim": 24}))
    refuse(folder, "head size 24", "32, 64")


def test_a_folder_is_refused_before_vllm_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from roles.sampling.engine import *\n"
        f"try: Sampler({str(tmp_path / 'no')!r}, EngineSettings())\n"
        "except SamplingError: print('vllm' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
