"""Sweeps: what runs a command means, what they are called, and the array that they become."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.errors import DataError, UserError
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.endings import read_endings
from slurm.records import read_faults, read_jobs
from slurm.series.sweep import (
    Swept,
    common_name,
    departures,
    each,
    expand,
    parse_seeds,
    parse_sweep,
    single_command,
)
from slurm.stages import StageJob
from slurm.submit import submission
from slurm.submit.batch_script import Array, Request
from slurm.submit.snapshot import snapshot_folder, take_snapshot
from tests.dist.small_training import small_training
from tests.slurm.cluster import Cluster, wait_until

ROOT = Path(__file__).resolve().parents[3]
LAUNCH = ROOT / "slurm/launch.py"
S12, S24 = (str(ROOT / f"configs/{name}.yaml") for name in ("s12", "s24"))
NO_CLUSTER = {"SLURM_CONF": "/nowhere/slurm.conf"}
"""Whatever this machine may have: what a dry run shows does not depend on it."""
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def names(files: list[str], overrides: list[str], swept: Swept) -> list[str]:
    return [variant.config.name for variant in expand(files, overrides, swept)]


def test_seeds_count_from_the_configs_own() -> None:
    assert parse_seeds("3") == 3 and parse_seeds("7,") == (7,) and parse_seeds("1, 9") == (1, 9)
    assert names([S12], [], Swept(3)) == ["s12-seed42", "s12-seed43", "s12-seed44"]
    assert names([S12], ["seed=7"], Swept(2)) == ["s12-seed7", "s12-seed8"]
    runs = expand([S12, S24], [], Swept((1, 9)))
    assert [run.config.name for run in runs] == ["s12-seed1", "s12-seed9", "s24-seed1", "s24-seed9"]
    assert [run.config.seed for run in runs] == [1, 9, 1, 9]


def test_a_grid_has_every_combination_and_names_that_say_it() -> None:
    sweeps = ("optim.lr_base=1e-3,2e-3", "model.metaformer.depths=[1,1,1,1],[2,2,6,2]")
    runs = expand([S12], ["name=a"], Swept(None, tuple(map(parse_sweep, sweeps))))
    assert [run.config.name for run in runs] == [
        "a-lr_base-1e-3-depths-1.1.1.1",
        "a-lr_base-1e-3-depths-2.2.6.2",
        "a-lr_base-2e-3-depths-1.1.1.1",
        "a-lr_base-2e-3-depths-2.2.6.2",
    ]
    assert [run.config.optim.lr_base for run in runs] == [1e-3, 1e-3, 2e-3, 2e-3]
    assert [run.config.model.metaformer.depths for run in runs][:2] == [(1, 1, 1, 1), (2, 2, 6, 2)]
    assert departures([run.config for run in runs])[0] == {
        "model.metaformer.depths": "[1, 1, 1, 1]",
        "optim.lr_base": "0.001",
    }
    assert common_name(runs) == "a"


def test_names_stay_apart_where_the_last_words_of_keys_or_long_values_are_the_same() -> None:
    sweeps = ("checkpoint.every_steps=5", "tracking.every_steps=7")
    assert names([S12], [], Swept(None, tuple(map(parse_sweep, sweeps)))) == [
        "s12-checkpoint.every_steps-5-tracking.every_steps-7"
    ]
    files = [f"/a/very/long/path/to/weights{number}.safetensors" for number in (1, 2)]
    path = f"model.init_from={','.join(files)}"
    first, second = names([S12], [], Swept(None, (parse_sweep(path),)))
    assert first != second and max(map(len, (first, second))) < 50
    # A run keeps its name when values are added.
    assert names([S12], [], Swept(None, (parse_sweep(path.partition(",")[0]),))) == [first]


def test_all_runs_go_to_the_experiment_of_the_first(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(f"extends: {S12}\ntracking: {{experiment: elsewhere}}\n")
    runs = expand([S12, str(other)], [], Swept())
    assert {run.config.tracking.experiment for run in runs} == {"imagenet1k"}
    runs = expand([str(other), S12], ["tracking.experiment=mine"], Swept())
    assert {run.config.tracking.experiment for run in runs} == {"mine"}


@pytest.mark.parametrize(
    ("parse", "text", "part"),
    [
        (parse_seeds, "many", "no number of seeds"),
        (parse_seeds, "0", "at least 1"),
        (parse_seeds, "3,3", "names a seed twice"),
        (parse_sweep, "optim.lr_base", "no section.key=value"),
        (parse_sweep, "optim.lr_base=1e-3,", "an empty value"),
        (parse_sweep, "optim.lr_base=1e-3,0.001", "the same value twice"),
        (parse_sweep, "name=a,b", "names follow from what is swept"),
        (parse_sweep, "model.metaformer.depths=[1,1", "not valid YAML"),
    ],
)
def test_flags_that_mean_nothing(parse: Callable[[str], object], text: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        parse(text)


@pytest.mark.parametrize(
    ("files", "overrides", "swept", "part"),
    [
        ([S12, S24], ["name=x"], Swept(), "2 runs would be called 'x'"),
        ([S12, S12], [], Swept(), "2 runs would be called 's12'"),
        ([S12], ["optim.lr_base=1"], Swept(None, (("optim.lr_base", ("1", "2")),)), "drop one"),
        ([S12], [], Swept(2, (("seed", ("1", "2")),)), "--seeds and --sweep seed"),
        ([S12], [], Swept(None, (("optim.opt", ("adamw",)), ("optim.opt", ("sgd",)))), "in one"),
    ],
)
def test_contradictions(files: list[str], overrides: list[str], swept: Swept, part: str) -> None:
    with pytest.raises(UserError, match=part):
        expand(files, overrides, swept)


def test_all_problems_are_in_one_report() -> None:
    swept = Swept(None, (("train.epochs", ("10", "0", "-1")), ("seed", ("1", "2"))))
    with pytest.raises(UserError) as raised:
        expand([S12, S24], [], swept)
    report = str(raised.value)
    assert report.startswith("8 of 12 cannot be launched, so nothing was:")
    # Once, though both files and both seeds have it.
    assert report.count("train.epochs=0") == 1 and report.count("train.epochs=-1") == 1
    assert f"- {S12}, {S24}: " in report


def test_errors_keep_their_kind_where_they_have_one() -> None:
    def fail(item: int) -> None:
        raise DataError("no shards") if item < 3 else UserError("no such setting")

    with pytest.raises(DataError, match=r"- a, b: no shards"):
        each([1, 2], fail, ["a", "b"])
    with pytest.raises(UserError, match=r"(?s)- a: no shards.*- b: no such setting"):
        each([1, 3], fail, ["a", "b"])
    with pytest.raises(DataError, match=r"^no shards$"):
        each([1], fail, ["a"])


def test_the_command_of_one_run_launches_that_run() -> None:
    typed = shlex.split(
        f"--nodes 2 {S12} --seeds 2 {S24} --sweep optim.lr_base=1e-3,2e-3 --parallel=1 --json "
        "train.epochs=30 --time 60"
    )
    swept = Swept(2, (parse_sweep("optim.lr_base=1e-3,2e-3"),))
    variant = expand([S12, S24], ["train.epochs=30"], swept)[-1]
    words = shlex.split(single_command(typed, [S12, S24], variant))
    assert words[:3] == ["python", "slurm/launch.py", S24]
    assert words[-4:] == ["--nodes", "2", "--time", "60"]
    assert load(S24, words[3:-4]).config == variant.config
    named = expand([S12], ["name=b"], Swept(2))[1]
    command = single_command([S12, "--name", "b", "--seeds", "2"], [S12], named)
    assert shlex.split(command)[2:] == [S12, "name=b", "seed=43", "name=b-seed43"]


def test_the_command_of_one_run_keeps_its_base() -> None:
    typed = ["--base", S12, "--seeds", "2", S12, S24]
    variant = expand([S12, S24], [], Swept(2), base=S12)[-1]
    assert variant.config.name == "s12-s24-seed43"
    words = shlex.split(single_command(typed, [S12, S24], variant))
    assert words[2] == S24 and words[-2:] == ["--base", S12]
    assert load(S24, words[3:-2], S12).config == variant.config


def test_all_ablations_go_on_a_base_with_one_command(command: Command) -> None:
    files = [str(path) for path in sorted((ROOT / "configs/ablations").glob("*.yaml"))]
    base = ("--base", str(ROOT / "configs/miniature.yaml"))
    flags = ("--cluster", "slurm", "--dry-run")
    done = command(LAUNCH, *base, *files, *flags, "runs_root=/shared/runs", **NO_CLUSTER)
    assert done.returncode == 0, done.stderr
    assert all(f"  miniature-{Path(file).stem} " in done.stderr for file in files)
    assert "#SBATCH --array=0-17%18" in done.stdout
    one = command(LAUNCH, *base, files[0], *flags, **NO_CLUSTER)
    assert one.returncode == 0 and f"name: miniature-{Path(files[0]).stem}" in one.stdout
    wrong = command(LAUNCH, "--base", str(ROOT / "configs/digits.yaml"), *files, *flags)
    assert wrong.returncode == 2 and "attention_last.yaml:10: " in wrong.stderr
    assert "4 of 18 cannot be launched, so nothing was" in wrong.stderr


def test_settings_that_most_runs_share_are_not_shown() -> None:
    files = [str(path) for path in sorted((ROOT / "configs/ablations").glob("*.yaml"))]
    runs = expand(files, [], Swept())
    settings = departures([run.config for run in runs])
    shown = {run.config.name: some for run, some in zip(runs, settings, strict=True)}
    assert shown["relu"] == {"model.metaformer.act": "relu"}
    assert shown["pool5"] == {"model.metaformer.pool_size": "5"}


def test_dry_run_of_an_array(command: Command) -> None:
    flags = ("--seeds", "3", "--parallel", "2", "--nodes", "2", "--cluster", "slurm", "--dry-run")
    done = command(LAUNCH, S12, *flags, "runs_root=/shared/runs", **NO_CLUSTER)
    assert done.returncode == 0, done.stderr
    for name in ("s12-seed42", "s12-seed43", "s12-seed44"):
        assert name in done.stderr
    assert done.stderr.count("no manifest.json there") == 1, "once, not for each run"
    links = "/shared/runs/.arrays/s12-ID"
    for line in (
        "#SBATCH --array=0-2%2",
        f"#SBATCH --output={links}/%a/logs/%A_%a_0_log.out",
        "#SBATCH --job-name=s12",
        "#SBATCH --nodes=2",
    ):
        assert line in done.stdout.splitlines(), line
    assert done.stdout.rstrip().endswith(f'$? "$(readlink -f {links}/"$SLURM_ARRAY_TASK_ID")"')


def test_runs_of_another_shape_are_jobs_of_their_own(command: Command) -> None:
    flags = ("--nodes", "2", "--cluster", "slurm", "--dry-run")
    sweep = ("--sweep", "data.decode_threads=2,2.5e0,3", "--seeds", "2")
    refused = command(LAUNCH, S12, *flags, *sweep, **NO_CLUSTER)
    assert refused.returncode == 2 and "data.decode_threads=2.5" in refused.stderr
    sweep = ("--sweep", "data.decode_threads=2,3", "--seeds", "2")
    done = command(LAUNCH, S12, *flags, *sweep, **NO_CLUSTER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("#SBATCH --array=0-1%2") == 2
    assert done.stdout.count("#SBATCH --cpus-per-task=4") == 1


def test_one_mistake_keeps_all_from_starting(
    command: Command, digit_shards: Path, tmp_path: Path
) -> None:
    words = small_training("a", tmp_path / "runs", digit_shards)
    done = command(LAUNCH, "--cluster", "local", *words, "--sweep", "data.train_split=train,trian")
    assert done.returncode == 2 and done.stdout == ""
    assert "1 of 2 cannot be launched, so nothing was" in done.stderr, done.stderr
    assert "- a-train_split-trian: " in done.stderr
    assert not (tmp_path / "runs").exists()


def test_here_one_failure_does_not_stop_the_others(
    command: Command, digit_shards: Path, tmp_path: Path
) -> None:
    words = small_training("a", tmp_path / "runs", digit_shards, "train.max_steps=2")
    sweep = ("--sweep", "model.init_from=nothing.safetensors,null", "--tasks-per-node", "1")
    done = command(LAUNCH, "--cluster", "local", *words, *sweep, "--json")
    assert done.returncode == 2, done.stderr
    assert "error: a-init_from-nothing.safetensors: " in done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert [(run["state"], run["exit_code"]) for run in runs] == [("failed", 2), ("finished", 0)]


def test_what_differs_by_the_runs_name_alone_is_told_once() -> None:
    def refuse(name: str) -> None:
        raise UserError(f"{name}: runs/{name} is taken" if name != "c" else "it is\n- odd")

    with pytest.raises(UserError) as caught:
        each(["a1", "a2", "c"], refuse, ["a1", "a2", "c"])
    listed = str(caught.value).partition("\n")[2]
    assert listed == "- a1, a2: runs/a1 is taken\n- c: it is\n  - odd"


@pytest.fixture
def launch(command: Command, cluster: Cluster, digit_shards: Path, tmp_path: Path) -> Command:
    """Launch small trainings of one rank on the cluster."""

    def run(*args: object, name: str = "s") -> "subprocess.CompletedProcess[str]":
        words = small_training(name, tmp_path / "runs", digit_shards, "train.max_steps=2")
        home = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        one_rank = ("--tasks-per-node", "1")
        return command(LAUNCH, *words, *one_rank, *args, **cluster.environment, **home)

    return run


@pytest.mark.slurm
def test_an_array_trains_its_runs_each_in_its_folder(launch: Command, cluster: Cluster) -> None:
    cluster.run("scontrol", "update", "PartitionName=test", "State=DOWN")
    try:
        done = launch("--seeds", "2", "--json")
        assert done.returncode == 0, done.stderr
        runs = json.loads(done.stdout)["runs"]
        again = json.loads(launch("--seeds", "2", "--json").stdout)["runs"]
    finally:
        cluster.run("scontrol", "update", "PartitionName=test", "State=UP")
    jobs = [run["job_id"] for run in runs]
    array = jobs[0].partition("_")[0]
    assert jobs == [f"{array}_0", f"{array}_1"]
    assert [(run["state"], run["job_id"]) for run in again] == [("queued", job) for job in jobs]
    cluster.wait(array, timeout_s=120)
    for run, job, seed in zip(runs, jobs, (42, 43), strict=True):
        folder = RunFolder(Path(run["run_folder"]))
        assert load(folder.config).config.seed == seed
        assert [(record.job_id, record.stage) for record in read_jobs(folder)] == [(job, "train")]
        assert "(finished)" in (folder.logs / f"{job}_0_log.err").read_text()
    finished = json.loads(launch("--seeds", "2", "--json").stdout)["runs"]
    assert [run["state"] for run in finished] == ["finished", "finished"]


@pytest.mark.slurm
def test_each_task_of_an_array_is_judged_and_queued_again_alone(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    folders = [RunFolder(tmp_path / "runs" / name) for name in ("a", "b")]
    links = tmp_path / "links"
    links.mkdir()
    for index, folder in enumerate(folders):
        folder.logs.mkdir(parents=True)
        (links / str(index)).symlink_to(folder.path)
    request = Request(
        cluster="slurm",
        name="array",
        nodes=1,
        tasks_per_node=1,
        gpus_per_node=0,
        cpus_per_task=1,
        time_min=10,
        log_folder=links / "%a" / "logs",
        code_folder=snapshot_folder(links / "code"),
        python=sys.executable,
        array=Array(links, 2, 2),
    )
    take_snapshot(request.code_folder)
    mistake = StageJob("slurm", folders[0].path, "pipeline.config", ("nothing.yaml",))
    endless = StageJob("slurm", folders[1].path, "http.server", ("--bind", "127.0.0.1", "0"))
    first, second = submission.submit_runs(request, [mistake, endless])
    cluster.wait(first)
    [fault] = read_faults(folders[0])
    assert (fault.job_id, fault.action) == (first, "ended") and "nothing.yaml" in fault.message
    assert read_faults(folders[1]) == []

    log, said = (folders[1].logs / f"{second}_0_log.{end}" for end in ("err", "out"))
    wait_until(lambda: "Serving HTTP" in said.read_text(), 30, "it does not start")
    cluster.run("scancel", "--signal=USR2", second)
    wait_until(lambda: "attempt 1" in log.read_text(), 60, lambda: log.read_text())
    cluster.run("scancel", second)
    cluster.wait(second)
    assert log.read_text().count(f"queueing job {second} again") == 1
    [ending] = [
        ending
        for place in (folders[1].logs / "endings").glob("*-0")
        for ending in read_endings(place)
    ]
    assert (ending.exit_code, ending.node in cluster.nodes) == (6, True)
