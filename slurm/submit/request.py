"""From a config and the place where it is to run, to a checked request and a submitted job."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from pipeline.config import Config, Loaded, load
from pipeline.errors import PipelineError, PreflightError, UserError
from pipeline.log import info, warn
from pipeline.models.kernels.choice import check_kernels
from pipeline.plan import Plan, make_plan, open_splits
from pipeline.tracking.claim import check_claim, run_folder_of
from pipeline.tracking.run_folder import RunFolder
from pipeline.world import visible_gpus
from slurm.submit import admission
from slurm.submit.attempts import Attempts
from slurm.submit.batch_script import Request
from slurm.submit.partitions import Partition, no_partitions, read_accounts, read_partitions
from slurm.submit.site_profile import NO_SITE, Site
from slurm.submit.snapshot import snapshot_folder
from slurm.submit.time_limit import in_words, parse_minutes
from slurm.watch import controller

_IMAGENET_IMAGES = (1_281_167, 50_000)
_USUAL_GPUS_PER_NODE = 8
"""What a plan assumes where neither flags nor profile nor sinfo say."""
_USUAL_TIME_MIN = 24 * 60


@dataclass(frozen=True)
class Where:
    """Where a run goes; None leaves it to the profile, the config and the cluster."""

    cluster: Literal["auto", "local", "slurm"] = "auto"
    nodes: int | None = None
    gpus_per_node: int | None = None
    tasks_per_node: int | None = None
    time: str | None = None
    """Limit, as sbatch reads it."""
    site: Site = NO_SITE
    after: str | None = None
    """Job, or several as 12:13, that must end well before this one starts."""


@dataclass(frozen=True)
class Prepared:
    """A training that can be submitted."""

    loaded: Loaded
    request: Request
    plan: Plan
    """Of the largest world."""
    smallest_plan: Plan
    """Of the smallest one, where elastic.min_nodes allows fewer nodes."""
    folder: RunFolder


def prepare(
    config_path: Path | str,
    overrides: Sequence[str],
    where: Where,
    is_dry_run: bool,
    makes_shards: bool = False,
    base: str | None = None,
) -> Prepared:
    """Check all that can be checked before a job runs, but for other jobs of the same run.

    makes_shards: another job does so before this one starts. base: as of ``load``. Raises
    PipelineError that names all that is wrong; writes nothing.
    """
    loaded = load(config_path, overrides, base)
    where = replace(where, cluster=_cluster(where, loaded.config, is_dry_run))
    config, attempts = loaded.config, Attempts()
    partition = None
    if where.cluster == "slurm" and shutil.which("sinfo"):
        partition = _partition(where.site, is_dry_run)
    request = request_of(where, loaded, partition)
    if not is_dry_run:
        _check_gpus(request, config)
    plans = attempts.of(lambda: _plans(config, request, is_dry_run, makes_shards))
    attempts.of(lambda: _check_computing(config))
    folder = attempts.of(lambda: _claimed(config))
    if where.cluster == "slurm":
        _check_slurm(attempts, where, request, partition, is_dry_run)
    attempts.raise_any()
    assert plans is not None and folder is not None
    return Prepared(loaded, request, plans[-1], plans[0], folder)


def request_of(where: Where, loaded: Loaded, partition: Partition | None = None) -> Request:
    """What to ask for. partition: that of the job, where Slurm could be asked.

    Raises UserError where flags contradict the config.
    """
    config, site = loaded.config, where.site
    is_slurm = where.cluster == "slurm"
    if where.gpus_per_node and config.device == "cpu":
        raise UserError(f"--gpus-per-node {where.gpus_per_node} with device=cpu; drop one of them")
    if where.after and not is_slurm:
        raise UserError(f"--after {where.after} needs Slurm; start this run when the other is done")
    gpus = _gpus(where, partition) if config.device == "cuda" else 0
    tasks = config.engine.cpu_tasks if config.device == "cpu" else max(gpus, 1)
    if gpus and (where.tasks_per_node or 0) > gpus:
        raise UserError(
            f"--tasks-per-node {where.tasks_per_node} for {gpus} GPUs: each rank needs one of its "
            f"own; use --tasks-per-node {gpus}"
        )
    fewest, most = _nodes(where, config) if is_slurm else (1, 1)
    folder = run_folder_of(config)
    weights = [Path(config.model.init_from)] if config.model.init_from else []
    return Request(
        cluster="slurm" if is_slurm else "local",
        name=config.name,
        nodes=most,
        min_nodes=fewest if fewest < most else None,
        tasks_per_node=where.tasks_per_node or tasks,
        gpus_per_node=gpus,
        cpus_per_task=site.cpus_per_task or config.data.decode_threads + 2,
        time_min=_time_min(where, partition),
        log_folder=folder.logs,
        code_folder=snapshot_folder(folder.code),
        python=site.python or sys.executable,
        site=site,
        after=where.after,
        run_folder=folder.path,
        mounts=(folder.path, Path(config.data.root), *(path for path in weights if path.exists())),
    )


def _cluster(where: Where, config: Config, is_dry_run: bool) -> Literal["local", "slurm"]:
    has_slurm = shutil.which("sbatch") is not None
    nodes = where.nodes or 1
    if where.cluster == "slurm" and not has_slurm and not is_dry_run:
        raise UserError(
            "--cluster slurm: no sbatch on this machine; use a login node, --dry-run or "
            "--cluster local"
        )
    # A dry run of several nodes needs no Slurm to be of use.
    if where.cluster == "slurm" or (
        where.cluster == "auto" and (has_slurm or (is_dry_run and nodes > 1))
    ):
        return "slurm"
    if nodes > 1:
        raise UserError(
            f"--nodes {nodes} needs Slurm, and "
            + (
                "--cluster local"
                if where.cluster == "local"
                else "there is no sbatch here, so this"
            )
            + " is one machine; use --nodes 1, or --cluster slurm on a login node"
        )
    return "local"


def _claimed(config: Config) -> RunFolder:
    admission.check_writable(run_folder_of(config).path, config.runs_root)
    return check_claim(config)


def _check_computing(config: Config) -> None:
    """As far as it is not the node that decides."""
    check_kernels(config)
    engine, name = config.engine, config.model.name
    if engine.compile and engine.zero_stage == 3 and name != "metaformer":
        # Only timm knows, which takes seconds to import.
        warn(
            f"engine.compile=true with engine.zero_stage=3 ends where model.name={name} has no "
            "repeated blocks, as a ResNet; use engine.zero_stage=1 then"
        )


def _check_gpus(request: Request, config: Config) -> None:
    if config.device == "cuda" and not request.gpus_per_node:
        raise PreflightError(
            "device=cuda, but this machine shows no GPU (NVML); set device=cpu, or check the "
            "driver with nvidia-smi and CUDA_VISIBLE_DEVICES"
        )


def _partition(site: Site, is_dry_run: bool) -> Partition | None:
    partitions = read_partitions()
    if partitions is None:
        problem = no_partitions()
        if not is_dry_run and isinstance(problem, UserError):
            raise UserError(f"{problem}, or use --cluster local")
        warn(f"{problem}: nodes, partition and time are checked by sbatch alone")
        return None
    return admission.partition_of(site, partitions)


def _gpus(where: Where, partition: Partition | None) -> int:
    if where.gpus_per_node:
        return where.gpus_per_node
    if where.cluster != "slurm":
        return visible_gpus()
    known = partition.gpus_per_node if partition else 0
    return where.site.gpus or known or _USUAL_GPUS_PER_NODE


def _nodes(where: Where, config: Config) -> tuple[int, int]:
    """Fewest and most."""
    elastic = config.elastic
    usual = where.nodes or elastic.max_nodes or elastic.min_nodes or 1
    fewest, most = elastic.min_nodes or usual, elastic.max_nodes or usual
    if not fewest <= usual <= most:
        bound = "max_nodes" if usual > most else "min_nodes"
        value = most if usual > most else fewest
        raise UserError(
            f"--nodes {usual} with elastic.{bound}={value}; leave out --nodes, or set "
            f"elastic.{bound}={usual}"
        )
    return fewest, most


def _time_min(where: Where, partition: Partition | None) -> int:
    if told := where.time or where.site.time:
        return parse_minutes(told)
    longest = partition.longest_min if partition else None
    return min(longest or _USUAL_TIME_MIN, _USUAL_TIME_MIN)


def _plans(config: Config, request: Request, is_dry_run: bool, makes_shards: bool) -> list[Plan]:
    """Of each number of nodes that the job may get, fewest first."""
    try:
        train, val = _count_images(config)
    except PipelineError as error:
        if makes_shards:
            info("the shards are made first: steps are known then")
        elif is_dry_run:
            warn(f"{error}\n(the plan assumes ImageNet-1k's {_IMAGENET_IMAGES[0]:,} images)")
        else:
            raise
        train, val = _IMAGENET_IMAGES
    worlds = range(request.min_world_size, request.world_size + 1, request.tasks_per_node)
    return [make_plan(config, world, train, val) for world in worlds]


_counted: dict[tuple[object, ...], tuple[int, int]] = {}


def _count_images(config: Config) -> tuple[int, int]:
    """Of both splits. Once for all runs of a sweep: it takes a thousand hashes."""
    data = config.data
    key = (data.root, data.train_split, data.val_split, config.model.num_classes)
    if key not in _counted:
        train, val = open_splits(config)
        _counted[key] = len(train), len(val)
    return _counted[key]


def _check_slurm(
    attempts: Attempts,
    where: Where,
    request: Request,
    partition: Partition | None,
    is_dry_run: bool,
) -> None:
    attempts.of(lambda: admission.check_time(request.time_min, _typed_time(where)))
    if partition is not None:
        attempts.of(lambda: admission.check_partition(request, partition))
        if request.site.account is not None:
            attempts.of(lambda: admission.check_account(request.site, read_accounts()))
    if is_dry_run and not shutil.which("sbatch"):
        return
    seen = {"run folder": request.run_folder or request.log_folder}
    if Path(request.python).is_absolute():
        # Its folder: a virtual environment's python is a link to one that all nodes may have.
        seen["interpreter"] = Path(request.python).parent
    for what, path in seen.items():
        attempts.of(partial(admission.check_seen_by_nodes, what, path, partition))
    if request.after is not None:
        awaited = request.after.split(":")
        answer = controller.ask(awaited, kept_s=0)
        attempts.of(lambda: admission.check_awaited(answer, awaited))


def _typed_time(where: Where) -> str:
    if where.time:
        return f"--time {where.time} is {in_words(where.time)}"
    return f"time={where.site.time} in the site profile is {in_words(where.site.time or '0')}"
