"""Chains: which stages are missing, what waits for what, and a failed one that stops the rest."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.checkpoint.folder import best_of, step_of
from pipeline.checkpoint.progress import Progress
from pipeline.errors import UserError
from pipeline.tracking.journal import Journal
from pipeline.tracking.run_folder import RunFolder, write_json
from slurm.records import Stage, evaluation_file, read_faults, read_jobs
from slurm.series.chain import (
    Step,
    best_step,
    evaluate_lacks,
    parse_chain,
    plan_chain,
    train_lacks,
)
from tests.dist.small_training import STEPS, small_training
from tests.slurm.cluster import Cluster

ROOT = Path(__file__).resolve().parents[3]
LAUNCH = ROOT / "slurm/launch.py"
ALL: tuple[Stage, ...] = ("prep", "train", "evaluate")
NOTHING: dict[Stage, str | None] = {"prep": "no shards", "train": "new", "evaluate": "new"}
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_stages_keep_their_order() -> None:
    assert parse_chain("prep, train,evaluate") == ALL
    assert parse_chain("train") == ("train",)
    for wrong in ("evaluate,train", "train,train", "export", ""):
        with pytest.raises(ValueError, match="in this order"):
            parse_chain(wrong)


def states(lacks: dict[Stage, str | None], queued: dict[Stage, str]) -> list[str]:
    return [step.state for step in plan_chain(ALL, NOTHING | lacks, queued)]


def test_only_what_is_missing_is_done() -> None:
    assert states({}, {}) == ["missing"] * 3
    assert states({"prep": None}, {}) == ["done", "missing", "missing"]
    assert states({"prep": None}, {"train": "7"}) == ["done", "queued", "missing"]
    assert states({"prep": None, "train": None}, {}) == ["done", "done", "missing"]
    assert states(dict.fromkeys(ALL), {}) == ["done"] * 3
    assert states({}, {"prep": "6", "train": "7", "evaluate": "8"}) == ["queued"] * 3
    # A training that goes on may come to another best checkpoint.
    assert states({"prep": None, "evaluate": None}, {}) == ["done", "missing", "missing"]
    # Shards that are gone do not undo a training.
    assert states({"train": None}, {}) == ["missing", "done", "missing"]


def test_a_job_that_waits_in_vain_is_named() -> None:
    with pytest.raises(UserError, match=r"job 7 \(train\).*prep.*no shards.*scancel 7"):
        plan_chain(ALL, NOTHING, {"train": "7"})


def test_a_training_is_done_when_all_steps_are_saved_and_it_said_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert train_lacks(folder, 10) == "not started"
    journal = Journal(folder.journal)
    journal.start({})
    mark = folder.checkpoints / "step-00000010" / "COMMITTED"
    assert train_lacks(folder, 10) == "0 of 10 steps are saved"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert train_lacks(folder, 10) == "it is RUNNING"
    journal.end("FINISHED", {})
    journal.close()
    assert train_lacks(folder, 10) is None
    assert train_lacks(folder, 20) == "10 of 20 steps are saved", "train.max_steps was raised"


@pytest.mark.parametrize(
    "scores", [{5: None}, {5: 1.0, 10: 3.0, 15: 3.0, 20: 2.0}, {5: 1.0, 10: None}, {5: 0.0, 9: 0.0}]
)
def test_the_best_checkpoint_is_the_one_that_evaluation_takes(
    scores: dict[int, float | None], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path)
    assert evaluate_lacks(folder) == "no checkpoint yet"
    for step, top1 in scores.items():
        path = folder.checkpoints / f"step-{step:08d}"
        path.mkdir(parents=True)
        (path / "progress.json").write_text(json.dumps(asdict(Progress(step=step, top1=top1))))
        (path / "COMMITTED").touch()
    (folder.checkpoints / "step-00000099.attempt-0.tmp").mkdir()
    best = best_step(folder)
    assert best == step_of(best_of(sorted(folder.checkpoints.glob("step-*[0-9]"))))
    assert evaluate_lacks(folder) == "not evaluated"
    write_json(evaluation_file(folder), {"step": 1})
    assert evaluate_lacks(folder) == f"step 1 is evaluated, the best is {best}"
    write_json(evaluation_file(folder), {"step": best})
    assert evaluate_lacks(folder) is None


def test_here_a_failed_stage_ends_the_chain(command: Command, tmp_path: Path) -> None:
    words = small_training("a", tmp_path / "runs", tmp_path / "shards")
    chain = ("--cluster", "local", "--chain", "prep,train", "--json")
    done = command(LAUNCH, *words, *chain, "--source", bad_images(tmp_path))
    assert done.returncode == 4, done.stderr
    assert "error: prep: bad-" in done.stderr
    told = json.loads(done.stdout)
    assert told["stages"] == [{"stage": "prep", "exit_code": 4}]
    assert not (tmp_path / "runs/a/journal.jsonl").exists()


def test_here_what_is_done_is_left_alone(
    command: Command, trained_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "digits")
    config = tmp_path / "digits/config.resolved.yaml"
    chain = ("--cluster", "local", "--chain", "train,evaluate", f"runs_root={tmp_path}")
    before = (tmp_path / "digits/journal.jsonl").read_bytes()
    done = command(LAUNCH, config, *chain, "--tasks-per-node", "1")
    assert done.returncode == 0, done.stderr
    assert "train: done already" in done.stderr
    assert (tmp_path / "digits/journal.jsonl").read_bytes() == before
    result = json.loads((tmp_path / "digits/evaluation.json").read_text())
    assert (result["step"], result["images"]) == (72, 355)
    again = command(LAUNCH, config, *chain, "--tasks-per-node", "1", "--dry-run", "--json")
    assert [stage["state"] for stage in json.loads(again.stdout)["stages"]] == ["done", "done"]


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--chain", "prep,train"], "--source IMAGES"),
        (["--chain", "prep,train", "--source", "nowhere"], "--source nowhere: there is no such"),
        (["--chain", "train", "--source", "."], "no manifest.json there"),
        (["--chain", "prep", "--seeds", "2"], "--chain is of one run"),
        (["--source", "."], "of the prep stage"),
        (["--chain", "prep", "data.val_split=val", "--source", "."], "makes the splits train and"),
    ],
)
def test_mistakes_get_one_message(
    flags: list[str], part: str, command: Command, tmp_path: Path
) -> None:
    words = small_training("a", tmp_path / "runs", tmp_path / "shards")
    done = command(LAUNCH, "--cluster", "local", *words, *flags)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert part in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def launch(command: Command, cluster: Cluster, tmp_path: Path) -> Command:
    """Launch a chain of a small training of one rank on the cluster; shards lie in shards/."""

    def run(*args: object) -> "subprocess.CompletedProcess[str]":
        words = small_training("a", tmp_path / "runs", tmp_path / "shards")
        home = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        one_rank = ("--tasks-per-node", "1", "--json")
        return command(LAUNCH, *words, *one_rank, *args, **cluster.environment, **home)

    return run


def steps(done: "subprocess.CompletedProcess[str]") -> list[Step]:
    assert done.returncode == 0, done.stderr
    return [Step(**stage) for stage in json.loads(done.stdout)["stages"]]


def bad_images(folder: Path) -> Path:
    for split in ("train", "val"):
        image = folder / "bad" / split / "class" / "1.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_text("this is no image")
    return folder / "bad"


@pytest.mark.slurm
def test_a_failed_stage_takes_those_behind_it_out_of_the_queue(
    launch: Command, cluster: Cluster, tmp_path: Path
) -> None:
    source = ("--source", bad_images(tmp_path))
    first = steps(launch("--chain", "prep,train,evaluate", *source))
    jobs = [step.job_id for step in first]
    cluster.wait(*jobs, timeout_s=90)
    folder = RunFolder(tmp_path / "runs/a")
    noted = {job.stage: job.job_id for job in read_jobs(folder)}
    assert noted == dict(zip(ALL, jobs, strict=True))
    [fault] = read_faults(folder)
    assert (fault.job_id, fault.action) == (jobs[0], "ended")
    assert "size unreadable" in fault.message
    assert not folder.journal.exists(), "the training has never started"
    again = steps(launch("--chain", "prep,train,evaluate", *source, "--dry-run"))
    assert [step.state for step in again] == ["missing"] * 3


@pytest.mark.slurm
def test_a_chain_goes_from_images_to_scores_and_again_to_nothing(
    launch: Command, cluster: Cluster, tmp_path: Path, command: Command
) -> None:
    assert command("data_prep/digits.py", tmp_path / "digits").returncode == 0
    words = ("--chain", "prep,train,evaluate", "--source", tmp_path / "digits")
    submitted = steps(launch(*words, "--shard-options=--shards 2 --check header"))
    second = steps(launch(*words))
    assert [step.state for step in submitted] == ["missing"] * 3
    assert second == [replace(step, state="queued", lacks=None) for step in submitted]
    cluster.wait(*(step.job_id for step in submitted), timeout_s=120)
    folder = RunFolder(tmp_path / "runs/a")
    assert json.loads(evaluation_file(folder).read_text())["step"] == STEPS
    assert len(list((tmp_path / "shards").glob("*-train-*.tar"))) == 2
    assert steps(launch(*words)) == [Step(stage, "done") for stage in ALL]
    evaluation_file(folder).unlink()
    third = steps(launch(*words, "--dry-run"))
    assert [step.state for step in third] == ["done", "done", "missing"]
    assert len(read_jobs(folder)) == 3
