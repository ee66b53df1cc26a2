"""Versions and their fit: Python, packages, CUDA builds, and the NVIDIA driver below them."""

import platform
import runpy
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from slurm.doctor.finding import Verdict, fail, ok, warn
from slurm.doctor.subject import Expected, Subject

_MINIMUM_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""By major version of CUDA, on Linux: the minor-version compatibility of
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html and table 3 of
the CUDA Toolkit's release notes."""
_SHOWN = 5
_INSTALL = "install the lock: `make`, or `pip install -r requirements.lock`"


def python(subject: Subject) -> Verdict:
    """This Python against the project's range."""
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    wanted = subject.expected.python if subject.expected else ""
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return ok(f"{version} in {sys.prefix}")
    return fail(f"{version}, the project needs {wanted}", "make .venv anew: `make PYTHON=...`")


def packages(subject: Subject) -> Verdict | None:
    """Installed packages against pyproject.toml and the lock."""
    if subject.expected is None:
        return None
    installed = {
        _normal(name): found.version
        for found in metadata.distributions()
        if (name := found.metadata["Name"])
    }
    return packages_verdict(subject.expected, installed)


def packages_verdict(expected: Expected, installed: Mapping[str, str]) -> Verdict:
    """installed: versions by normal name (lower case, hyphens)."""
    from packaging.requirements import Requirement

    wanted = list(map(Requirement, expected.requirements))
    wrong = [
        f"{r.name} {installed.get(_normal(r.name), 'is missing')} ({r.specifier})"
        for r in wanted
        if not r.specifier.contains(installed.get(_normal(r.name), ""), prereleases=True)
    ] + ([] if _dali(installed) else ["nvidia-dali-cuda130 is missing (or nvidia-dali-cuda120)"])
    if wrong:
        return fail("; ".join(wrong), _INSTALL)
    # Of the locked packages those that the project names itself; the others are theirs to choose.
    direct = {_normal(r.name) for r in wanted} | {_dali(installed)}
    locked = [r for r in map(Requirement, expected.locked) if _normal(r.name) in direct]
    other = [
        f"{r.name} {installed.get(_normal(r.name), 'missing')} ({str(r.specifier)[2:]})"
        for r in locked
        if (r.marker is None or r.marker.evaluate())
        and not r.specifier.contains(installed.get(_normal(r.name), ""), prereleases=True)
    ]
    fit = f"{len(direct)} packages fit pyproject.toml"
    if not other:
        return ok(f"{fit} and the lock" if locked else fit)
    more = f" and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    return ok(f"{fit}; other than in the lock: {', '.join(other[:_SHOWN])}{more}")


def cuda_builds(subject: Subject) -> Verdict | None:
    """Whether torch and DALI are built for GPUs, and for the same CUDA."""
    if not subject.needs_gpu:
        return None
    return builds_verdict(installed_builds())


def builds_verdict(builds: Mapping[str, int | None]) -> Verdict:
    """builds: CUDA's major version by library; None: built without it, or not installed."""
    without = [name for name, cuda in builds.items() if cuda is None]
    if without:
        return fail(f"device=cuda, but {' and '.join(without)} has no CUDA build here", _INSTALL)
    told = ", ".join(f"{name} for CUDA {cuda}" for name, cuda in builds.items())
    if len(set(builds.values())) > 1:
        return warn(told, "one CUDA for both spares memory and surprises; " + _INSTALL)
    return ok(told)


def driver(subject: Subject) -> Verdict | None:
    """The NVIDIA driver against what torch's and DALI's builds need."""
    if not subject.needs_gpu:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        found = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return fail(
            f"device=cuda, but no NVIDIA driver answers ({error})",
            "use a node with GPUs, have its driver loaded (nvidia-smi), or set device=cpu",
        )
    return driver_verdict(found, installed_builds())


def driver_verdict(found: str, builds: Mapping[str, int | None]) -> Verdict:
    """found: such as ``580.65.06``; builds: see builds_verdict."""
    short = [
        f"{name} for CUDA {cuda} needs {_MINIMUM_DRIVERS[cuda]}"
        for name, cuda in builds.items()
        if cuda in _MINIMUM_DRIVERS and _numbers(found) < _numbers(_MINIMUM_DRIVERS[cuda])
    ]
    if not short:
        return ok(f"{found} is new enough for {' and '.join(builds)}")
    return fail(
        f"{found} is too old: {', '.join(short)} or newer",
        "update the driver, or install the cuda12 environment (README, GPUs and drivers)",
    )


def installed_builds() -> dict[str, int | None]:
    """CUDA's major version that torch and DALI are built for; nothing of theirs is run."""
    spec = find_spec("torch")
    cuda = None
    if spec is not None and spec.origin is not None:
        cuda = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    dali = (major for major in sorted(_MINIMUM_DRIVERS, reverse=True) if _has_dali(major))
    return {
        "torch": None if cuda is None else int(cuda.partition(".")[0]),
        "DALI": next(dali, None),
    }


def _has_dali(cuda: int) -> bool:
    try:
        metadata.version(f"nvidia-dali-cuda{cuda}0")
    except metadata.PackageNotFoundError:
        return False
    return True


def _dali(installed: Mapping[str, str]) -> str | None:
    return next((name for name in installed if name.startswith("nvidia-dali-cuda")), None)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
