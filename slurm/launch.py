"""Train a config on Slurm or on this machine: python slurm/launch.py configs/m48.yaml --nodes 8

Flags say where a run goes, section.key=value says what it is. On Slurm this returns at once;
a local run is followed to its end. The same command resumes a run that was stopped.
"""

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pipeline.config import Loaded, load
from pipeline.config.load import write_resolved
from pipeline.errors import (
    STOPPED_EXIT_CODE,
    PipelineError,
    PreflightError,
    UserError,
    run_cli,
)
from pipeline.log import info, warn
from pipeline.plan import Plan, make_plan, open_splits
from pipeline.tracking.claim import check_claim, run_folder_of
from pipeline.tracking.origin import git_state
from pipeline.world import visible_gpus
from slurm import submission
from slurm.job import TrainJob
from slurm.snapshot import snapshot_folder, take_snapshot

_IMAGENET_IMAGES = (1_281_167, 50_000)
_GPUS_PER_NODE = 8


def main() -> int:
    args = _parse()
    loaded = load(args.config, args.overrides)
    request = _request(args, loaded)
    plan = _plan(loaded, request, args.dry_run)
    folder = check_claim(loaded.config)
    if args.dry_run:
        _print_dry_run(loaded, request, plan)
        return 0
    command = shlex.join(["python", "slurm/launch.py", *sys.argv[1:]])
    take_snapshot(request.code_folder)
    facts = git_state(Path(__file__).parent) | {"launch_command": command}
    job = submission.submit(request, TrainJob(loaded.config, request.cluster, command, facts))
    summary = {
        "job_id": job.job_id,
        "cluster": request.cluster,
        "run_folder": str(folder.path),
        "world_size": request.world_size,
        "total_steps": plan.total_steps,
    }
    if request.cluster == "slurm":
        return _report_slurm(summary, args.json)
    from slurm.follow import Follower

    outcome = Follower(job, folder, request.tasks_per_node).wait()
    if args.json:
        print(json.dumps(summary | {"exit_code": outcome.exit_code, "message": outcome.message}))
    if outcome.exit_code == STOPPED_EXIT_CODE:
        info(outcome.message)
    elif outcome.exit_code:
        print(f"error: {outcome.message}", file=sys.stderr)
    return outcome.exit_code


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="launch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file, such as configs/m48.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument(
        "--cluster",
        choices=["auto", "local", "slurm"],
        default="auto",
        help="auto is slurm where sbatch is found, else local",
    )
    parser.add_argument("--nodes", type=_count, default=1, help="machines (default 1)")
    parser.add_argument(
        "--gpus-per-node",
        type=_count,
        metavar="N",
        help=f"slurm: GPUs of a node to ask for (default {_GPUS_PER_NODE})",
    )
    parser.add_argument(
        "--tasks-per-node",
        type=_count,
        metavar="N",
        help="ranks per node (default: one per GPU; without GPU engine.cpu_tasks)",
    )
    parser.add_argument(
        "--time",
        type=_minutes,
        default=24 * 60,
        metavar="HH:MM:SS",
        help="time limit (default 24:00:00)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    return parser.parse_intermixed_args()


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _minutes(text: str) -> int:
    parts = text.split(":")
    if not all(part.isdigit() for part in parts) or len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is no HH:MM:SS, such as 24:00:00")
    hours, minutes, seconds = map(int, parts)
    return max(1, hours * 60 + minutes + -(-seconds // 60))


def _request(args: argparse.Namespace, loaded: Loaded) -> submission.Request:
    config = loaded.config
    cluster = args.cluster
    if cluster == "auto":
        # A dry run of several nodes needs no Slurm to be of use.
        is_slurm = shutil.which("sbatch") or (args.dry_run and args.nodes > 1)
        cluster = "slurm" if is_slurm else "local"
    if cluster == "local" and args.nodes > 1:
        raise UserError(
            f"--nodes {args.nodes} needs Slurm, and "
            + ("--cluster local" if args.cluster == "local" else "there is no sbatch here, so this")
            + " is one machine; use --nodes 1, or --cluster slurm on a login node"
        )
    if cluster == "slurm" and not args.dry_run and not shutil.which("sbatch"):
        raise UserError(
            "--cluster slurm: no sbatch on this machine; use a login node, --dry-run or "
            "--cluster local"
        )
    if args.gpus_per_node and config.device == "cpu":
        raise UserError(f"--gpus-per-node {args.gpus_per_node} with device=cpu; drop one of them")
    gpus = 0
    if config.device == "cuda":
        gpus = args.gpus_per_node or (_GPUS_PER_NODE if cluster == "slurm" else visible_gpus())
        if gpus == 0 and not args.dry_run:
            raise PreflightError(
                "device=cuda, but this machine shows no GPU (NVML); set device=cpu, or check the "
                "driver with nvidia-smi and CUDA_VISIBLE_DEVICES"
            )
    tasks = args.tasks_per_node or (
        max(gpus, 1) if config.device == "cuda" else config.engine.cpu_tasks
    )
    folder = run_folder_of(config)
    return submission.Request(
        cluster=cluster,
        name=config.name,
        nodes=args.nodes,
        tasks_per_node=tasks,
        gpus_per_node=gpus,
        cpus_per_task=config.data.decode_threads + 2,
        time_min=args.time,
        log_folder=folder.logs,
        code_folder=snapshot_folder(folder.code),
    )


def _plan(loaded: Loaded, request: submission.Request, is_dry_run: bool) -> Plan:
    try:
        train, val = map(len, open_splits(loaded.config))
    except PipelineError as error:
        if not is_dry_run:
            raise
        warn(f"{error}\n(the plan below assumes ImageNet-1k's {_IMAGENET_IMAGES[0]:,} images)")
        train, val = _IMAGENET_IMAGES
    return make_plan(loaded.config, request.world_size, train, val)


def _print_dry_run(loaded: Loaded, request: submission.Request, plan: Plan) -> None:
    print("# resolved config")
    print(write_resolved(loaded.config))
    print("# plan")
    batch, micro_batch = plan.global_batch, plan.micro_batch
    for name, value in {
        "cluster": request.cluster,
        "world": f"{request.nodes} node(s) x {request.tasks_per_node} rank(s) = {plan.world_size}",
        "global batch": f"{batch} = {plan.micro_batches} micro-batches of {micro_batch}",
        "micro-batches per rank": f"{plan.slots} ({plan.idle_slots} idle slots in all)",
        "peak lr": f"{plan.lr_peak:g}",
        "steps": f"{plan.total_steps:,} = {plan.steps_per_epoch:,} an epoch, "
        f"{plan.schedule_epochs} epochs",
        "run folder": request.log_folder.parent,
    }.items():
        print(f"{name + ':':<24}{value}")
    if request.cluster == "slurm":
        print("\n# sbatch")
        print(submission.sbatch_text(request))


def _report_slurm(summary: dict[str, object], as_json: bool) -> int:
    job, folder = summary["job_id"], summary["run_folder"]
    if as_json:
        print(json.dumps(summary))
        return 0
    info(f"submitted job {job}: {summary['world_size']} ranks; run folder {folder}")
    info("next:")
    info(f"  squeue -j {job}")
    info(f"  tail -F {folder}/logs/{job}_0_log.err")
    info(f"  python -m pipeline.tracking sync {folder}     # curves to MLflow")
    info(f"  scancel --signal=USR2 {job}                   # checkpoint and queue again")
    return 0


if __name__ == "__main__":
    run_cli(main)
