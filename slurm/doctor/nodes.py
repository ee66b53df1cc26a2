"""The nodes that a job gets: submit it, follow it to its end, and collect what they found."""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UserError
from pipeline.log import ProgressLine, info
from slurm.doctor.answers import Answer, read_answers
from slurm.doctor.finding import Finding, fail, found
from slurm.doctor.job import DoctorJob
from slurm.doctor.pairs import judge
from slurm.doctor.subject import Subject
from slurm.submit import admission, submission
from slurm.submit.batch_script import Request
from slurm.submit.partitions import Partition, read_partitions
from slurm.submit.site_profile import Site
from slurm.submit.snapshot import snapshot_folder, take_snapshot
from slurm.watch import controller

_USUAL_GPUS_PER_NODE = 8
"""Where neither flags nor profile nor sinfo say."""
_POLL_S = 0.5
_ASK_SLURM_S = 5.0
_LATE_FILES_S = 30.0
"""How long a network file system may hide what other nodes wrote."""


def examine_nodes(
    subject: Subject, nodes: int, site: Site, gpus_per_node: int | None
) -> tuple[list[Finding], list[Answer]]:
    """All findings of a job over ``nodes`` nodes, and the nodes' answers as they left them.

    gpus_per_node: None is all that a node has. Raises UserError where no such job can be submitted.
    """
    if shutil.which("sbatch") is None:
        raise UserError("--nodes: no sbatch on this machine; use a login node, or drop --nodes")
    partitions = read_partitions()
    partition = admission.partition_of(site, partitions) if partitions else None
    if subject.needs_gpu:
        known = site.gpus or (partition.gpus_per_node if partition else 0)
        subject = replace(subject, ranks=gpus_per_node or known or _USUAL_GPUS_PER_NODE)
    folder = (Path(subject.config.runs_root) / ".doctor").absolute()
    request = _request(subject, nodes, site, partition, folder)
    if partition is not None:
        admission.check_partition(request, partition)
    admission.check_seen_by_nodes("runs_root", folder.parent, partition)
    take_snapshot(request.code_folder)
    job_id = submission.submit(request, DoctorJob(subject, folder)).job_id
    info(f"submitted job {job_id} for {nodes} node(s); its logs are in {request.log_folder}")
    answers = _wait(job_id, folder / job_id, nodes)
    return collected(answers, nodes, f"{request.log_folder}/{job_id}"), answers


def _request(
    subject: Subject, nodes: int, site: Site, partition: Partition | None, folder: Path
) -> Request:
    data = subject.config.data
    longest = partition.longest_min if partition else None
    return Request(
        cluster="slurm",
        name="doctor",
        nodes=nodes,
        tasks_per_node=1,
        gpus_per_node=subject.ranks if subject.needs_gpu else 0,
        cpus_per_task=site.cpus_per_task or data.decode_threads + 2,
        time_min=min(10 + nodes // 4, longest or 60),
        log_folder=folder / "logs",
        code_folder=snapshot_folder(folder / "code"),
        python=site.python or sys.executable,
        site=site,
        mounts=(folder, Path(data.root)),
    )


def _wait(job_id: str, folder: Path, nodes: int) -> list[Answer]:
    """Until all nodes have answered, or the job is over; Ctrl-C ends the job."""
    progress, shown, asked_s = ProgressLine("nodes", nodes), "", float("-inf")
    over_s: float | None = None
    try:
        while True:
            answers = read_answers(folder)
            done = sum(answer.is_done for answer in answers)
            progress.update(done, {"answers": str(sum(len(a.findings) for a in answers))})
            now_s = time.monotonic()
            if done == nodes or (over_s is not None and now_s - over_s > _LATE_FILES_S):
                return answers
            if over_s is None and now_s - asked_s > _ASK_SLURM_S:
                asked_s, job = now_s, controller.job_states([job_id]).get(job_id)
                over_s = now_s if job and not job.is_active else None
                state = f"{job.state} {job.reason or ''}".strip() if job else shown
                if state != shown and not answers:
                    info(f"job {job_id}: {state}")
                    shown = state
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        controller.cancel([job_id])
        raise
    finally:
        progress.close()


def collected(answers: Sequence[Answer], nodes: int, logs: str) -> list[Finding]:
    """All findings, with a failing one for each node that did not come to its end.

    logs: how the paths of the job's logs begin.
    """
    findings = [finding for answer in answers for finding in answer.findings]
    names = {answer.rank: answer.node for answer in answers}
    rates = {answer.rank: answer.rates for answer in answers if answer.rates is not None}
    findings += judge(rates, [names.get(rank, f"rank {rank}") for rank in range(nodes)])
    by_rank = {answer.rank: answer for answer in answers}
    for rank in range(nodes):
        answer = by_rank.get(rank)
        if answer is None or not answer.is_done:
            last = answer.findings[-1].check if answer and answer.findings else "its start"
            verdict = fail(
                f"it ended after {last}" if answer else "it never began",
                f"see {logs}_{rank}_log.err, and srun's words in {logs}_0_log.err",
            )
            findings.append(found("job", names.get(rank, f"rank {rank}"), verdict))
    return findings


def pair_rows(answers: Sequence[Answer]) -> list[dict[str, object]]:
    """For JSON: an entry per pair of nodes that was to exchange."""
    names = {answer.rank: answer.node for answer in answers}
    rows: list[dict[str, object]] = []
    for answer in answers:
        for partner, rate in (answer.rates or {}).items():
            if answer.rank < partner and partner in names:
                key = "error" if isinstance(rate, str) else "mb_per_s"
                rows.append({"nodes": [answer.node, names[partner]], key: rate})
    return rows
