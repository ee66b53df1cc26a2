"""The batch script: a golden text; what containers, elastic jobs and odd paths change in it."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from slurm.submit.batch_script import Request, ruling_variables, task_python
from slurm.submit.site_profile import Container, Site
from slurm.submit.submission import outside_of_jobs, sbatch_text

GOLDEN = Path(__file__).with_name("golden") / "m48.sbatch"
SITE = Site(
    partition="gpu",
    account="vision",
    qos="long",
    constraint="a100&ib",
    gres="gpu:a100:8",
    mem="0",
    exclude=("gpu[013-014]",),
    setup=("module load cuda/13.0",),
    network_interface="ib0",
    scratch="/local/$SLURM_JOB_ID",
)
REQUEST = Request(
    cluster="slurm",
    name="m48",
    nodes=8,
    tasks_per_node=8,
    gpus_per_node=8,
    cpus_per_task=6,
    time_min=1440,
    log_folder=Path("/shared/runs/m48/logs"),
    code_folder=Path("/shared/runs/m48/code/0123456789ab"),
    python="/shared/venv/bin/python",
    site=SITE,
    after="12",
    run_folder=Path("/shared/runs/m48"),
    mounts=(Path("/shared/runs/m48"), Path("/shared/imagenet")),
)


def test_the_golden_text() -> None:
    assert sbatch_text(REQUEST) + "\n" == GOLDEN.read_text()


def options(request: Request) -> dict[str, str]:
    lines = [line for line in sbatch_text(request).splitlines() if line.startswith("#SBATCH --")]
    pairs = [line.removeprefix("#SBATCH --").partition("=") for line in lines]
    return {name: value.strip("'") for name, _, value in pairs}


def test_a_bare_site_leaves_the_rest_to_slurm() -> None:
    bare = options(replace(REQUEST, site=Site(), after=None))
    assert bare["gpus-per-node"] == "8"
    absent = {"partition", "account", "qos", "constraint", "gres", "mem", "exclude", "dependency"}
    assert not absent & set(bare) and "wckey" not in bare


def test_fewer_gpus_than_the_profile_names() -> None:
    assert options(replace(REQUEST, gpus_per_node=2))["gres"] == "gpu:a100:2"


def test_an_elastic_job_asks_for_cpus_and_srun_for_tasks() -> None:
    elastic = replace(REQUEST, min_nodes=7)
    asked = options(elastic)
    assert (asked["nodes"], asked["cpus-per-task"]) == ("7-8", "48")
    assert "ntasks-per-node" not in asked
    [srun] = [line for line in sbatch_text(elastic).splitlines() if line.startswith("srun ")]
    assert " --ntasks-per-node=8 " in srun and " --cpus-per-task=6 " in srun
    assert (elastic.world_size, elastic.min_world_size) == (64, 56)


def test_other_jobs_have_no_aftermath() -> None:
    assert "slurm.aftermath" in sbatch_text(REQUEST)
    assert "slurm.aftermath" not in sbatch_text(replace(REQUEST, run_folder=None))


@pytest.mark.parametrize("kind", ["apptainer", "pyxis"])
def test_ranks_in_a_container(kind: str, tmp_path: Path) -> None:
    container = Container(
        kind=kind,  # type: ignore[arg-type]
        image="/shared/a b.sif",
        mounts=("/data:/inside",),
        options=("--no-home",),
    )
    request = replace(REQUEST, site=Site(container=container), mounts=(tmp_path,))
    text = sbatch_text(request)
    [srun] = [line for line in text.splitlines() if line.startswith("srun ")]
    if kind == "apptainer":
        words = f"apptainer exec --nv --bind /data:/inside,{tmp_path} --no-home '/shared/a b.sif'"
        assert f" {words} python3 -u -m submitit.core._submit " in srun
        assert "--nv" not in task_python(replace(request, gpus_per_node=0))
    else:
        assert " '--container-image=/shared/a b.sif' " in srun
        assert (
            f" --container-mounts=/data:/inside,{tmp_path}:{tmp_path} --no-home python3 -u" in srun
        )
    # Queueing again needs scontrol, which images lack.
    assert "\nexec /shared/venv/bin/python -u -m slurm.aftermath $? /shared/runs/m48" in text


def script(tmp_path: Path, code: Path) -> Path:
    """The whole script, with an srun that shows what it was given."""
    request = replace(
        REQUEST,
        python="python3",
        site=Site(scratch="$HOME/of $SLURM_JOB_ID", network_interface="eth 0"),
        code_folder=code,
        log_folder=tmp_path / "logs of it",
        run_folder=None,
    )
    (tmp_path / "srun").write_text("#!/bin/bash\nenv\nprintf '%s\\n' \"$@\"\nexit 3\n")
    (tmp_path / "srun").chmod(0o755)
    path = tmp_path / "script.sh"
    path.write_text(sbatch_text(request))
    return path


def run(path: Path) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": f"{path.parent}:/usr/bin:/bin", "HOME": "/data/ada", "SLURM_JOB_ID": "12"}
    env |= {"SLURM_JOB_NODELIST": "n[1-8]", "PYTHONPATH": "/theirs"}
    return subprocess.run(["bash", path], env=env, text=True, capture_output=True, check=False)


def test_what_the_script_gives_to_the_ranks(tmp_path: Path) -> None:
    code = tmp_path / "the code"
    code.mkdir()
    done = run(script(tmp_path, code))
    assert done.returncode == 3, "srun's code is the script's"
    assert done.stderr == "attempt 0 of job 12 on n[1-8]\n"
    lines = done.stdout.splitlines()
    assert f"PYTHONPATH={code}:/theirs" in lines and "PYTHONSAFEPATH=1" in lines
    assert "NODE_SCRATCH=/data/ada/of 12" in lines
    assert "NCCL_SOCKET_IFNAME=eth 0" in lines and "GLOO_SOCKET_IFNAME=eth 0" in lines
    assert lines[-1] == str(tmp_path / "logs of it")


def test_a_snapshot_that_is_gone_ends_the_job(tmp_path: Path) -> None:
    done = run(script(tmp_path, tmp_path / "gone"))
    assert done.returncode == 2 and done.stdout == ""
    assert "the job's code is gone" in done.stderr and f"{tmp_path}/gone" in done.stderr


def test_an_outer_job_leaves_no_trace() -> None:
    outer = {
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "1",
        "SLURM_NTASKS": "3",
        "SLURMD_NODENAME": "n1",
        "SRUN_CPUS_PER_TASK": "2",
        "PMI_RANK": "0",
        "SUBMITIT_EXECUTOR": "slurm",
        "CUDA_VISIBLE_DEVICES": "3",
        "SBATCH_RESERVATION": "mine",
        "HOME": "/data/ada",
    }
    kept = outside_of_jobs(outer)
    assert set(kept) == {"SLURM_CONF", "SBATCH_RESERVATION", "HOME"}
    # Outside of a job it is the user's own.
    assert outside_of_jobs({"CUDA_VISIBLE_DEVICES": "3"}) == {"CUDA_VISIBLE_DEVICES": "3"}


def test_variables_that_would_overrule_the_script() -> None:
    assert "SBATCH_TIMELIMIT" in ruling_variables(Site())
    assert "SBATCH_PARTITION" not in ruling_variables(Site(account="vision"))
    assert "SBATCH_ACCOUNT" in ruling_variables(Site(account="vision"))
