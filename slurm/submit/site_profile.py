"""A site's cluster in a file: what its Slurm wants to be told, and how a job begins there.

``--site NAME`` takes slurm/sites/NAME.yaml or the user's sites/NAME.yaml, ``--site FILE.yaml`` a
file; without it the user's site.yaml is taken where there is one. The user's files lie in
~/.config/imagenet-pipeline (or under $XDG_CONFIG_HOME).
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipeline.config.schema.section import Count, Section
from pipeline.config.yaml_tree import Leaf, read_tree
from pipeline.errors import UserError
from pipeline.log import warn
from slurm.submit.time_limit import parse_minutes

SITES = Path(__file__).parents[1] / "sites"
SCRATCH_VARIABLE = "NODE_SCRATCH"
"""What jobs find ``scratch`` in: data.stage_to=$NODE_SCRATCH."""
FROM_SBATCH = {
    "partition": "SBATCH_PARTITION",
    "account": "SBATCH_ACCOUNT",
    "qos": "SBATCH_QOS",
    "constraint": "SBATCH_CONSTRAINT",
}
"""Settings that sbatch itself also takes from the environment."""
SITE_FLAGS = ("partition", "account", "qos")
"""Settings that launch.py also takes as flags."""

Words = Annotated[tuple[str, ...], Field(strict=False)]


class Container(Section):
    """An image that the ranks run in; the batch script itself stays outside."""

    kind: Literal["apptainer", "pyxis"]
    """apptainer: ranks are `apptainer exec --nv IMAGE python`. pyxis: srun's --container-image."""
    image: str
    """A .sif file, or for pyxis also a registry's name such as nvcr.io#nvidia/pytorch:25.09-py3."""
    mounts: Words = ()
    """Folders to see inside, as host[:inside]; the run's folder and the shards are added."""
    options: Words = ()
    """Further words for `apptainer exec`, or for srun."""
    python: str = "python3"
    """Interpreter inside, with the project's dependencies."""


class Site(Section):
    """What a cluster wants to be told. Everything may be left out."""

    partition: str | None = None
    """Partition; null is Slurm's default. So account, qos, constraint, mem, cpus_per_task."""
    account: str | None = None
    """Account that the hours are booked on."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that the nodes must have, such as a100&ib."""
    gpus_per_node: Count | None = None
    """GPUs of a node, asked for as --gpus-per-node."""
    gres: Annotated[str, Field(pattern=r"^gpu(:[\w.-]+)?:[1-9]\d*$")] | None = None
    """GPUs of a node, asked for as --gres, such as gpu:a100:8."""
    cpus_per_task: Count | None = None
    """CPUs of a rank; null is data.decode_threads + 2."""
    mem: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = None
    """Memory of a node, such as 480G; "0" is all of it."""
    time: str | None = None
    """Time limit where --time is not given, as sbatch reads it, such as "1-00:00:00"."""
    exclude: Words = ()
    """Nodes to avoid, such as n[3-4]."""
    setup: Words = ()
    """Lines of shell before the ranks start, such as `module load cuda`."""
    python: str | None = None
    """Interpreter on the nodes, outside of a container; null is the one that runs launch.py."""
    network_interface: str | None = None
    """Interface between the nodes, such as ib0: NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME."""
    scratch: Annotated[str, Field(pattern=r'^[/$][^"`\\]*$')] | None = None
    """Folder on each node's own disk, jobs' $NODE_SCRATCH; may name variables of the job."""
    container: Container | None = None
    """Image that the ranks run in."""

    @field_validator("time")
    @classmethod
    def _readable(cls, time: str | None) -> str | None:
        if time is not None:
            parse_minutes(time)
        return time

    @model_validator(mode="after")
    def _one_way_to_ask_for_gpus(self) -> Self:
        if self.gpus_per_node and self.gres:
            raise ValueError("gpus_per_node and gres both ask for GPUs; keep one of them")
        return self

    @property
    def gpus(self) -> int | None:
        """GPUs of a node."""
        return int(self.gres.rpartition(":")[2]) if self.gres else self.gpus_per_node


NO_SITE = Site()
"""What Slurm decides by itself."""


def load_site(
    named: str | None,
    environment: Mapping[str, str] = os.environ,
    flags: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Site, Path | None]:
    """The profile that ``--site`` names, else the user's own, else an empty one; and its file.

    What the profile leaves open is taken from SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_QOS and
    SBATCH_CONSTRAINT. flags: settings that win over both. Raises UserError where the profile is
    missing or wrong.
    """
    path = _find(named, environment)
    values = _read(path) if path else {}
    for key, variable in FROM_SBATCH.items():
        told = environment.get(variable)
        if key in flags:
            values[key] = Leaf(flags[key], f"--{key}")
        elif told and key in values and told != values[key].value:
            flag = f"; --{key} {told} wins over it" if key in SITE_FLAGS else ""
            place, value = values[key].place, values[key].value
            warn(f"{variable}={told} is not used: {place} has {value}{flag}")
        elif told:
            values[key] = Leaf(told, variable)
    return _checked(path, values), path


def user_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where a user's own profiles lie."""
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "~")) / ".config"
    return Path(home).expanduser() / "imagenet-pipeline"


def _find(named: str | None, environment: Mapping[str, str]) -> Path | None:
    own = user_folder(environment)
    if named is None:
        path = own / "site.yaml"
        return path if path.is_file() else None
    if named.endswith((".yaml", ".yml")) or "/" in named:
        path = Path(named)
        if not path.is_file():
            raise UserError(f"--site {named}: no such file; name one, or a profile without .yaml")
        return path
    folders = [SITES, own / "sites"]
    for folder in folders:
        if (folder / f"{named}.yaml").is_file():
            return folder / f"{named}.yaml"
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    near = difflib.get_close_matches(named, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        f"--site {named}: no {named}.yaml in {SITES} or {folders[1]}; {hint}there are "
        f"{', '.join(known)}; `python slurm/jobs.py init` drafts one for this cluster"
    )


def _read(path: Path) -> dict[str, Leaf]:
    problems: list[str] = []
    leaves = read_tree(path, problems)
    if problems:
        raise UserError(_report(path, problems))
    return leaves


def _checked(path: Path | None, leaves: Mapping[str, Leaf]) -> Site:
    values: dict[str, Any] = {}
    for key, leaf in leaves.items():
        section, _, name = key.rpartition(".")
        target = values.setdefault(section, {}) if section else values
        target[name] = leaf.value
    try:
        return Site.model_validate(values)
    except ValidationError as error:
        problems = [_describe(details, leaves) for details in error.errors()]
        raise UserError(_report(path, problems)) from None


def _report(path: Path | None, problems: list[str]) -> str:
    count = len(problems)
    listed = "".join(f"\n  {problem}" for problem in problems)
    return f"site profile {path}: {count} problem{'s' * (count > 1)}{listed}"


def _describe(details: ErrorDetails, leaves: Mapping[str, Leaf]) -> str:
    names = [str(part) for part in details["loc"]]
    while len(names) > 1 and ".".join(names) not in leaves:
        names.pop()
    key = ".".join(names)
    written = [leaf.place for name, leaf in leaves.items() if f"{name}.".startswith(f"{key}.")]
    place = written[0] if written else "profile"
    if details["type"] == "extra_forbidden":
        key = ".".join(str(part) for part in details["loc"])
        return f"{place}: {key}: unknown setting{_near_miss(key)}"
    if details["type"] == "value_error":
        message = re.sub("^Value error, ", "", details["msg"])
        return f"{place}: {key}: {message}" if key else message
    if details["type"] == "missing":
        return f"{place}: {'.'.join(map(str, details['loc']))}: is needed"
    message = details["msg"]
    return f"{place}: {key}={details['input']!r}: {message[0].lower()}{message[1:]}"


def _near_miss(key: str) -> str:
    known = [*Site.model_fields, *(f"container.{name}" for name in Container.model_fields)]
    last = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6) or [
        last[name] for name in difflib.get_close_matches(key.rpartition(".")[2], last, n=1)
    ]
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
