"""Why a job waits, in words for who does not know Slurm's."""

from slurm.watch.job_state import JobState

_REASONS = {
    "None": "Slurm has not looked at it yet",
    "Resources": "waits for free nodes",
    "Priority": "other jobs come first",
    "BeginTime": "waits until Slurm lets it start again",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "the job it waits for has failed",
    "JobArrayTaskLimit": "waits for other runs of its sweep",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is not active",
    "PartitionNodeLimit": "it asks for more nodes than its partition gives",
    "PartitionTimeLimit": "its time limit is over the partition's",
    "ReqNodeNotAvail": "nodes that it asks for are down or reserved",
    "Reservation": "waits for its reservation",
    "Cleaning": "its last attempt is still being cleaned up",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node has the features that it asks for",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its quality of service is not valid",
    "Licenses": "waits for a licence",
}


def why_it_waits(job: JobState) -> str:
    """Words for Slurm's reason; what a person must do about it, if anything."""
    reason = job.reason or "None"
    if "Held" in reason or "held" in reason or job.state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
        by = " by an administrator" if reason == "JobHeldAdmin" else ""
        return f"held{by}; let it go with: scontrol release {job.job_id}"
    # ReqNodeNotAvail, UnavailableNodes:n3
    name = reason.partition(",")[0].strip()
    if name.startswith(("QOS", "Assoc", "MaxJobs", "MaxCpu", "MaxNode")):
        return f"a limit of your account or qos ({name})"
    if name.startswith("Nodes required for job are DOWN"):
        return "nodes that it needs are down or drained"
    return _REASONS.get(name, reason)
