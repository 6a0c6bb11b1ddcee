"""Memory groups. Version 2 of the hierarchy is imitated by plain files here: few machines offer both."""

from pathlib import Path

import pytest

from roles.sandbox.cgroup import Hierarchy, MemoryGroup


def imitated_version_2(root: Path, control: str) -> Path:
    own = root / "proc-self-cgroup"
    own.write_text("12:cpu:/x\n0::/user.slice/run\n")
    (root / "cgroup.controllers").write_text("cpu memory")
    for folder in (root, root / "user.slice", root / "user.slice/run"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(control)
    return own


def test_version_2_uses_the_group_that_hands_memory_on(tmp_path: Path) -> None:
    own = imitated_version_2(tmp_path, "cpu memory")
    found = Hierarchy.find(tmp_path, own)
    assert found is not None
    assert (found.folder, found.limits, found.events) == (tmp_path / "user.slice/run", ("memory.max",), "memory.events")
    group = MemoryGroup(found.folder / "judge-1-0", found)
    group.path.mkdir()
    (group.path / "memory.max").write_text("max")
    (group.path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (group.path / "memory.current").write_text("7")
    group.limit(1 << 30)
    assert (group.path / "memory.max").read_text() == str(1 << 30)
    assert group.kills() == 2
    group.settle(10)


def test_without_delegation_there_is_no_group(tmp_path: Path) -> None:
    own = imitated_version_2(tmp_path, "")
    for file in tmp_path.rglob("cgroup.subtree_control"):
        file.unlink()
        file.mkdir()  # neither read nor written
    assert Hierarchy.find(tmp_path, own) is None
    assert Hierarchy.find(tmp_path / "nowhere", own) is None


def test_a_group_bounds_and_counts(tmp_path: Path) -> None:
    group = MemoryGroup.create()
    if group is None:
        pytest.skip("this machine gives no memory group")
    try:
        group.limit(1 << 28)
        group.limit(1 << 29)
        group.limit(1 << 27)
        assert group.kills() == 0
    finally:
        group.close()
    assert not group.path.exists()
