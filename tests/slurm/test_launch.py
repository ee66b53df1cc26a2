"""The launcher as people use it: checks, dry runs, a followed local run, Ctrl-C, resume."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "slurm/launch.py"
SMALL = [
    "train.max_steps=12",
    "train.global_batch=180",
    "train.micro_batch=90",
    "model.metaformer.depths=[1,1]",
    "model.metaformer.dims=[16,24]",
    "engine.dtype=fp32",
    "tracking.every_steps=4",
]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def small(digit_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list]:
    runs = tmp_path_factory.mktemp("launched")

    def build(name: str, *overrides: str) -> list[object]:
        config = ROOT / "configs/digits.yaml"
        where = [f"name={name}", f"data.root={digit_shards}", f"runs_root={runs}"]
        return [LAUNCH, "--cluster", "local", config, *where, *SMALL, *overrides]

    build.runs = runs  # type: ignore[attr-defined]
    return build


def test_dry_run_of_the_real_job(command: Command) -> None:
    done = command(LAUNCH, "--nodes", "8", "configs/m48.yaml", "--cluster", "slurm", "--dry-run")
    assert done.returncode == 0, done.stderr
    for part in (
        "8 node(s) x 8 rank(s) = 64",
        "4096 = 64 micro-batches of 64",
        "1 (0 idle slots in all)",
        "96,720 = 312 an epoch, 310 epochs",
        "#SBATCH --nodes=8",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --time=1440",
        "--kill-on-bad-exit=1",
    ):
        assert part in done.stdout, part
    assert not (ROOT / "runs/m48").exists()
    titles = [line for line in done.stdout.splitlines() if line in ("# sbatch", "# plan")]
    assert titles == ["# sbatch", "# plan"] and "\n\n\n" not in done.stdout


def test_dry_run_of_a_range_of_nodes_as_json(command: Command) -> None:
    words = [LAUNCH, "configs/m48.yaml", "--cluster", "slurm", "--dry-run", "--json"]
    done = command(*words, "elastic.min_nodes=7", "elastic.max_nodes=8")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["nodes"], shown["tasks_per_node"]) == ("7-8", 8)
    assert (shown["plan"]["world_size"], shown["plan"]["idle_slots"]) == (64, 0)
    assert (shown["smallest_plan"]["world_size"], shown["smallest_plan"]["idle_slots"]) == (56, 48)
    assert "#SBATCH --nodes=7-8\n" in shown["sbatch"]
    assert shown["config"]["elastic"] == {"min_nodes": 7, "max_nodes": 8}
    assert shown["forecast"]["rank_hours"] is None and shown["forecast"]["least_rank_hours"] > 5


_DRY = ["configs/m48.yaml", "--dry-run"]
_CONTIGUOUS = "engine.memory_format=contiguous"


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--nodes", "8", "configs/digits.yaml"], 2, "--nodes 8 needs Slurm"),
        (["configs/m48.yaml"], 3, "device=cuda, but this machine shows no GPU"),
        (["configs/m48.yaml", "--gpus-per-node", "2", "--tasks-per-node", "4"], 2, "for 2 GPUs"),
        (["configs/digits.yaml", "--after", "12"], 2, "--after 12 needs Slurm"),
        (["configs/digits.yaml", "--after", "it"], 2, "'it' is no job id"),
        (["configs/digits.yaml", "--site", "exampel"], 2, "did you mean example?"),
        (["configs/digits.yaml", "--tasks-per-node", "3"], 2, "use at most 2 ranks"),
        (["configs/digits.yaml", "optim.lr_bas=1"], 2, "did you mean optim.lr_base?"),
        (["configs/digits.yaml", "data.root=nowhere"], 2, "no manifest.json there; write shards"),
        (["configs/digits.yaml", "model.num_classes=9"], 2, "set model.num_classes=10"),
        (["configs/digits.yaml", "runs_root=README.md/z"], 2, "README.md is a file); set runs_ro"),
        (["configs/digits.yaml", "runs_root=/proc/x", "--dry-run"], 2, "runs_root=/proc/x: cannot"),
        ([*_DRY, "model.kernels=triton", "device=cpu"], 2, "kernels=triton needs device=cuda"),
        (
            [*_DRY, "model.kernels=triton", "engine.memory_format=contiguous"],
            2,
            "channels_last; use",
        ),
        (["configs/nothing.yaml"], 2, "No such file"),
        (["configs/digits.yaml", "--time", "soon"], 2, "'soon' is no time as sbatch reads it"),
    ],
)
def test_mistakes_get_one_message(
    arguments: list[str], code: int, part: str, command: Command, digit_shards: Path, tmp_path: Path
) -> None:
    where = []
    if not any(word.startswith("runs_root") for word in arguments):
        where.append(f"runs_root={tmp_path}/runs")
    if not any(word.startswith("data.root") for word in arguments):
        where.append(f"data.root={digit_shards}")
    local = ["--cluster", "local"]  # also where there is Slurm
    done = command(LAUNCH, *local, *arguments, *where, CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert part in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("damage", ["index", "truncated tar"])
def test_damaged_shards_are_named(
    damage: str, command: Command, digit_shards: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "shards"
    copy.mkdir()
    for path in digit_shards.iterdir():
        (copy / path.name).symlink_to(path)
    if damage == "index":
        (copy / "digits-train-0001.idx").unlink(missing_ok=False)
    else:
        data = (copy / "digits-train-0001.tar").read_bytes()
        (copy / "digits-train-0001.tar").unlink()
        (copy / "digits-train-0001.tar").write_bytes(data[:-512])
    done = command(LAUNCH, "--cluster", "local", "configs/digits.yaml", f"data.root={copy}")
    assert done.returncode == 4
    assert "does not match its manifest.json" in done.stderr and "digits-train-0001" in done.stderr


def test_local_run_is_followed_to_its_summary(small: Callable[..., list], command: Command) -> None:
    done = command(
        *small("whole", "tracking.uri=journal", "tracking.terminal_every_s=0.2"), "--json"
    )
    assert done.returncode == 0, done.stderr
    run = small.runs / "whole"  # type: ignore[attr-defined]
    result = json.loads(done.stdout)
    assert (result["exit_code"], result["world_size"]) == (0, 2)
    assert result["run_folder"] == str(run)
    for part in ("2 rank(s) on cpu", "best top-1", "img/s", "run folder", "ETA"):
        assert part in done.stderr, part
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr
    snapshots = list((run / "code").iterdir())
    assert len(snapshots) == 1 and (snapshots[0] / "pipeline/train/loop.py").is_file()
    # The same command again finds nothing left to do.
    again = command(*small("whole", "tracking.uri=journal"))
    assert again.returncode == 0 and "(finished)" in again.stderr


def test_unreachable_mlflow_does_not_stop_a_run(
    small: Callable[..., list], command: Command, tmp_path: Path
) -> None:
    done = command(*small("offline", "tracking.uri=http://127.0.0.1:9"))
    assert done.returncode == 0, done.stderr
    assert "warning: MLflow" in done.stderr and "pipeline.tracking sync" in done.stderr
    run = small.runs / "offline"  # type: ignore[attr-defined]
    store = f"sqlite:///{tmp_path}/mlflow.db"
    synced = command("-m", "pipeline.tracking", "sync", run, "--uri", store)
    assert synced.returncode == 0, synced.stderr


def test_ctrl_c_saves_stops_and_resumes(small: Callable[..., list], command: Command) -> None:
    run = small.runs / "stopped"  # type: ignore[attr-defined]
    args = small("stopped", "tracking.uri=journal", "checkpoint.every_steps=2")
    args = [word if word != "train.max_steps=12" else "train.max_steps=400" for word in args]
    process = subprocess.Popen(
        [sys.executable, *map(str, args)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step-*/COMMITTED")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    # As a terminal does: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "stopping after this step and a checkpoint" in stderr and "goes on" in stderr
    steps = sorted(int(path.name[5:]) for path in run.glob("checkpoints/step-*"))
    assert steps and not list(run.glob("checkpoints/*.tmp"))
    resumed = [
        word if word != "train.max_steps=400" else f"train.max_steps={steps[-1] + 3}"
        for word in args
    ]
    done = command(*resumed)
    assert done.returncode == 0, done.stderr
    assert f"resuming after step {steps[-1]}" in done.stderr


def test_a_dead_rank_is_named(small: Callable[..., list]) -> None:
    import psutil

    run = small.runs / "dead"  # type: ignore[attr-defined]
    args = small(
        "dead", "tracking.uri=journal", "checkpoint.every_steps=2", "engine.collective_timeout_s=20"
    )
    args = [word if word != "train.max_steps=12" else "train.max_steps=400" for word in args]
    process = subprocess.Popen(
        [sys.executable, *map(str, args)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step-*/COMMITTED")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    tasks = [
        p
        for p in psutil.Process(process.pid).children(recursive=True)
        if "_submit" in " ".join(p.cmdline())
    ]
    victim = next(p for p in tasks if p.environ().get("SUBMITIT_LOCAL_GLOBALID") == "1")
    victim.kill()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "rank 1 died without a word" in stderr and "Traceback" not in stderr
