"""What Slurm says where it refuses a job, and what a person can do about it."""

import re

from pipeline.errors import PipelineError, PreflightError, UserError
from slurm.submit.partitions import read_accounts, read_partitions
from slurm.watch.lost_controller import is_silent, not_found, silent

_REMEDIES = {
    "account": "give --account, or set account in the site profile or SBATCH_ACCOUNT",
    "partition": "give --partition, or set partition in the site profile or SBATCH_PARTITION",
    "qos": "give --qos, or set qos in the site profile or SBATCH_QOS",
    "constraint|feature": "`sinfo -o %f` shows the features that constraint may name",
    "time limit": "use a shorter --time; the job is queued again until the training is complete",
    "dependency": "--after names no job that Slurm still knows; leave it out if that job is done",
    "gres|gpus": "set gres or gpus_per_node in the site profile as `sinfo -o %G` shows them",
    "node count|nodes": "use fewer --nodes",
    "memory": "set mem in the site profile to less",
    "cpu count|cpus": "lower data.decode_threads, or set cpus_per_task in the site profile",
    "policy|limit": "a limit of your account or qos; `sacctmgr show associations` has them",
}


def refused(said: str) -> PipelineError:
    """The error for what sbatch wrote before it gave up."""
    lines = [
        re.sub(r"^sbatch: (error: )?(Batch job submission failed: )?", "", line.strip())
        for line in said.strip().splitlines()
        if line.strip()
    ]
    text = "; ".join(dict.fromkeys(lines)) or "no reason given"
    if lost := not_found(said):
        return UserError(lost)
    if is_silent(text):
        if known := silent(said):
            return PreflightError(known)
        return PreflightError(
            f"Slurm does not answer ({text}); try again, and see `scontrol ping` and SLURM_CONF"
        )
    for words, remedy in _REMEDIES.items():
        if re.search(words, text, re.I):
            return UserError(f"Slurm refuses the job: {text}; {remedy}{_there_are(words)}")
    return UserError(f"Slurm refuses the job: {text}; change it in the site profile or by flags")


def _there_are(words: str) -> str:
    """The names that would do."""
    if words == "account":
        names = read_accounts()
    elif words == "partition":
        names = [partition.name for partition in read_partitions() or ()]
    else:
        return ""
    return f"; there are {', '.join(names)}" if names else ""
