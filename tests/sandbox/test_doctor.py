import os

from roles.sandbox import doctor, jail


def test_doctor_reports_what_this_machine_has() -> None:
    report = doctor.examine()
    assert report.isolation_tier >= 2
    assert report.nsjail == jail.find_nsjail()
    assert report.languages["python"].startswith("3.")
    assert report.cores == len(os.sched_getaffinity(0))
    assert report.memory_bytes >= report.memory_available_bytes > 0


def test_doctor_says_what_is_missing_without_nsjail(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(jail.importlib.util, "find_spec", lambda name: None)
    report = doctor.examine()
    assert (report.isolation_tier, report.nsjail) == (-1, "")
    assert any("nsjail" in line and "install" in line for line in report.missing)
