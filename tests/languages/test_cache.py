"""The folder of what toolchains precompile."""

from pathlib import Path

import pytest

from roles.languages import cache


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_BASES", (str(tmp_path),))
    return tmp_path


def build(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("made")


def refuse(folder: Path) -> None:
    (folder / "half").write_text("")
    raise OSError("no compiler")


def test_a_folder_is_made_once_for_a_key_and_open_to_all():
    made = cache.folder("cpp", "a key", build)
    assert made
    assert (made / "inner" / "file").read_text() == "made"
    assert [oct(path.stat().st_mode & 0o777) for path in (made, made / "inner" / "file")] == ["0o755", "0o644"]
    assert cache.folder("cpp", "a key", refuse) == made
    assert cache.folder("cpp", "another", build) != made


def test_a_folder_that_lost_a_file_is_made_again():
    made = cache.folder("cpp", "a key", build)
    assert made
    (made / "inner" / "file").unlink()
    assert cache.folder("cpp", "a key", build) == made
    assert (made / "inner" / "file").read_text() == "made"


def test_what_cannot_be_built_leaves_nothing_behind(base):
    assert cache.folder("cpp", "a key", refuse) is None
    assert not [path for path in base.rglob("*") if path.is_file()]


def test_a_folder_that_others_can_write_is_not_used(base):
    made = cache.folder("cpp", "a key", build)
    assert made
    made.parent.chmod(0o777)
    assert cache.folder("cpp", "a key", build) is None
