from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINNED = [
    line
    for path in sorted((ROOT / "requirements").glob("*.txt"))
    for line in path.read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that set-up reads, without an environment."""
    for name in ("requirements", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def set_up(clone: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "scripts/setup.sh"], cwd=clone, env={"PATH": path}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def tools(folder: Path, *names: str) -> str:
    """A PATH on which only the named system tools are found."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name) or pytest.skip(f"no {name} here"))
    return str(folder)


def test_every_requirement_is_pinned_once() -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^ ;]+", line) for line in PINNED)
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in PINNED]
    assert len(names) == len(set(names))


def test_nothing_that_brings_cuda_is_required() -> None:
    names = {line.split("==")[0].lower() for line in PINNED}
    assert not {name for name in names if name.startswith(("nvidia", "cuda"))}
    assert names.isdisjoint({"triton", "torchvision", "torchaudio", "torchcodec", "vllm"})
    assert [line for line in PINNED if line.startswith("torch==")] == ["torch==2.13.0+cpu"]


def test_a_second_set_up_does_nothing(clone: Path, tmp_path: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    key = subprocess.run(
        "cat requirements/*.txt scripts/setup.sh scripts/check_install.py | sha256sum",
        shell=True, cwd=clone, text=True, capture_output=True, check=True,
    ).stdout.split()[0]  # fmt: skip
    (clone / ".venv" / ".complete").write_text(key + "\n")
    done = set_up(clone, "/usr/bin:/bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_python_is_named(clone: Path, tmp_path: Path) -> None:
    done = set_up(clone, tools(tmp_path / "bin", "dirname", "cat", "sha256sum", "cut"))
    assert done.returncode == 1
    assert "Python 3.11" in done.stderr and "python3.11-venv" in done.stderr


def test_the_commands_that_a_person_types_are_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"setup", "run", "test", "test-long", "bench", "bench-pocket", "pocket", "lint", "clean"} <= targets


def test_the_project_declares_its_packages_and_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {"cpu", "gpu", "dev"} <= set(project["project"]["optional-dependencies"])
    assert project["tool"]["setuptools"]["py-modules"] == ["driver"]
