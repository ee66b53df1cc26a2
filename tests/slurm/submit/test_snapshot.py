"""The copy of the code that a job runs."""

import shutil
from pathlib import Path

import pytest

from pipeline.tracking.origin import LOCK, Origin, origin_of, write_origin
from slurm.submit.snapshot import snapshot_folder, take_snapshot

ROOT = Path(__file__).resolve().parents[3]


def test_it_holds_the_code_and_is_taken_once(tmp_path: Path) -> None:
    target = snapshot_folder(tmp_path)
    take_snapshot(target)
    names = ("pipeline/plan/counts.py", "pipeline/plan/forecast.yaml", "slurm/sites/example.yaml")
    for name in names:
        assert (target / name).read_bytes() == (ROOT / name).read_bytes()
    (target / "pipeline/plan/counts.py").write_text("kept")
    take_snapshot(target)
    assert (target / "pipeline/plan/counts.py").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [target]


def test_another_launch_may_be_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = snapshot_folder(tmp_path)
    copy = shutil.copyfile

    def overtaken(source: Path, place: Path) -> None:
        (target / "theirs").mkdir(parents=True, exist_ok=True)
        copy(source, place)

    monkeypatch.setattr(shutil, "copyfile", overtaken)
    take_snapshot(target)
    assert list(tmp_path.iterdir()) == [target] and (target / "theirs").is_dir()


def test_it_says_where_it_comes_from_as_of_the_last_submission(tmp_path: Path) -> None:
    target = snapshot_folder(tmp_path)
    take_snapshot(target)
    found = origin_of(target)
    assert found.snapshot == target.name
    assert found.git_commit == origin_of(ROOT).git_commit
    assert (target / LOCK).read_bytes() == (ROOT / LOCK).read_bytes()
    write_origin(target, Origin("c0ffee", True, "what has been committed since", target.name))
    take_snapshot(target)
    assert origin_of(target).git_commit == found.git_commit
