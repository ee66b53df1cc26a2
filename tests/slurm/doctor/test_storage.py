"""Shards, the folder of runs, staging and /dev/shm: enough, and too little."""

import shutil
from pathlib import Path

import pytest

from pipeline.config import Config, load
from pipeline.errors import UserError
from pipeline.paper import Model, figures
from slurm.doctor.parameters import parameters_at_most
from slurm.doctor.storage import (
    checkpoint_bytes,
    read_cold,
    runs_room,
    runs_writable,
    shards,
    shards_readable,
    shared_memory,
    shared_memory_verdict,
    space_verdict,
    staging_space,
    staging_verdict,
)
from slurm.doctor.subject import Subject

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20


def subject(*overrides: str, ranks: int = 1) -> Subject:
    return Subject(load(ROOT / "configs/digits.yaml", overrides).config, "n1", ranks=ranks)


def test_reading_a_shard_says_how_many_images_that_feeds(digit_shards: Path) -> None:
    verdict = shards(subject(f"data.root={digit_shards}"))
    assert verdict is not None and verdict.state == "ok"
    assert "MB/s" in verdict.reason and "images/s" in verdict.reason


def test_too_slow_for_its_gpus_is_a_warning(digit_shards: Path) -> None:
    verdict = shards(subject(f"data.root={digit_shards}", "device=cuda", ranks=10**6))
    assert verdict is not None and verdict.state == "warn" and "stage_to" in verdict.remedy


def test_without_config_there_are_no_shards_to_look_at() -> None:
    assert shards(Subject(Config(), "n1", has_config=False)) is None


def test_missing_shards_and_splits_are_told(digit_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.json there; write shards"):
        shards(subject(f"data.root={tmp_path}"))
    verdict = shards(subject(f"data.root={digit_shards}", "data.train_split=other"))
    assert verdict is not None and verdict.state == "fail"
    assert "train, validation, not 'other'" in verdict.reason


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(bytes(10 * MIB + 3))
    num_bytes, seconds = read_cold(path)
    assert num_bytes == 10 * MIB + 3 and seconds > 0


def test_a_shard_that_the_manifest_names_must_be_there(digit_shards: Path, tmp_path: Path) -> None:
    assert shards_readable(subject(f"data.root={digit_shards}")).state == "ok"
    copy = shutil.copytree(digit_shards, tmp_path / "copy")
    for path in copy.glob("*-train-*.tar"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"train-0000\.tar"):
        shards_readable(subject(f"data.root={copy}"))


def test_the_folder_of_runs(tmp_path: Path) -> None:
    well = subject(f"runs_root={tmp_path}/not/there/yet")
    assert runs_writable(well).state == "ok"
    assert "a checkpoint takes" in runs_room(well).reason
    assert list(tmp_path.iterdir()) == []
    closed = runs_writable(subject("runs_root=/proc/runs"))
    assert closed.state == "fail" and "takes no files from here" in closed.reason


def test_a_full_disk_is_no_fault_of_the_node(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(15 * MIB + MIB // 2))
    full = subject(f"runs_root={small_disk}")
    assert runs_writable(full).state == "ok"
    room = runs_room(full)
    assert room.state == "fail" and "is full (No space left on device)" in room.reason


def test_room_for_the_checkpoints_that_are_kept() -> None:
    config = load(ROOT / "configs/m48.yaml").config
    one = checkpoint_bytes(config)
    assert space_verdict(config, 4 * one).state == "ok"
    assert space_verdict(config, 4 * one - 1).state == "warn"
    assert space_verdict(config, one - 1).state == "fail"


@pytest.mark.parametrize("model", figures().sizes, ids=lambda model: model.name)
def test_a_checkpoint_is_a_few_percent_smaller_than_told(model: Model) -> None:
    told = parameters_at_most(load(ROOT / "configs" / model.config).config)
    assert model.parameters < told < 1.05 * model.parameters


def test_a_saved_checkpoint_fits_what_is_told(trained_run: Path) -> None:
    config = load(trained_run / "config.resolved.yaml").config
    newest = max(trained_run.glob("checkpoints/step-*"))
    states = sum(path.stat().st_size for path in newest.glob("state-*.safetensors"))
    assert 0.8 * checkpoint_bytes(config) < states < 1.2 * checkpoint_bytes(config)


def test_staging(digit_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"data.root={digit_shards}"
    assert staging_space(subject(root)) is None
    monkeypatch.setenv("NODE_SCRATCH", str(tmp_path))
    verdict = staging_space(subject(root, "data.stage_to=$NODE_SCRATCH/shards"))
    assert verdict is not None and verdict.state == "ok" and "to copy" in verdict.reason
    unset = staging_space(subject(root, "data.stage_to=$NO_SUCH_VARIABLE/shards"))
    assert unset is not None and unset.state == "warn" and "not set here" in unset.reason
    closed = staging_space(subject(root, "data.stage_to=/proc/shards"))
    assert closed is not None and closed.state == "warn"


def test_staging_leaves_a_gibibyte() -> None:
    gib = 1 << 30
    assert staging_verdict("/scratch", 5 * gib, 6 * gib).state == "ok"
    assert staging_verdict("/scratch", 5 * gib + 1, 6 * gib).state == "warn"
    # All is staged: nothing more is needed.
    assert staging_verdict("/scratch", 0, 0).state == "ok"


def test_shared_memory_of_this_machine(tmp_path: Path) -> None:
    assert shared_memory(subject()).state == "ok"
    assert shared_memory(subject(), str(tmp_path / "none")).state == "fail"


@pytest.mark.parametrize(
    ("free_mib", "ranks", "state"),
    [(64, 1, "ok"), (64, 8, "fail"), (600, 8, "warn"), (2000, 8, "ok")],
)
def test_shared_memory_for_the_ranks_of_a_node(free_mib: int, ranks: int, state: str) -> None:
    verdict = shared_memory_verdict(subject("device=cuda", ranks=ranks), free_mib * MIB, 4000 * MIB)
    assert verdict.state == state
    assert ("--shm-size" in verdict.remedy) == (state != "ok")
