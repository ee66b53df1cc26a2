"""Telling a shell that does not know its cluster from a cluster that does not answer."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

_NOT_CONFIGURED = re.compile(
    r"could not establish a configuration source|resolve_ctls_from_dns_srv|s_p_parse_file|"
    r"unable to (?:process|open) config",
    re.I,
)
_UNREACHED = re.compile("unable to contact slurm controller", re.I)
_SILENT = re.compile(
    "unable to contact|timed out|connection refused|connect failure|zero bytes", re.I
)


def is_silent(said: str) -> bool:
    """Whether a command of Slurm's wrote that the controller does not answer now."""
    return _SILENT.search(said) is not None


def not_found(said: str = "", environment: Mapping[str, str] = os.environ) -> str | None:
    """Why this shell does not find Slurm's controller, and the remedy; None where it does.

    said: what sbatch, squeue or sinfo wrote; empty where it wrote nothing in time, as with a
    SLURM_CONF that names no file: then they wait a minute for it.
    """
    conf = environment.get("SLURM_CONF")
    is_missing = conf is not None and not Path(conf).is_file()
    if not (is_missing or _NOT_CONFIGURED.search(said)):
        return None
    return f"Slurm's controller is not to be found from this shell: {_conf(conf)}; {_REMEDY}"


def silent(said: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The same for a controller that is known and does not answer: it may do so later."""
    if not _UNREACHED.search(said):
        return None
    return (
        f"Slurm's controller does not answer: {_conf(environment.get('SLURM_CONF'))}; see "
        f"`scontrol ping`, and try again; or {_REMEDY}"
    )


_REMEDY = "set it, or ask on a login node"


def _conf(conf: str | None) -> str:
    if not conf:
        return "SLURM_CONF is not set"
    return f"SLURM_CONF points to {conf}" + ("" if Path(conf).is_file() else ", which is no file")
