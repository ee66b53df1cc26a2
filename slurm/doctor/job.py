"""What runs on each node of a doctor's job: its own checks, then those that take two nodes."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.world import World, from_environment
from slurm.doctor.answers import Answer, Ports, read_answers, read_ports
from slurm.doctor.checks import CHECKS
from slurm.doctor.clocks import serve_time, skew_to, skew_verdict
from slurm.doctor.examining import examine
from slurm.doctor.exchange import exchange, limit_s
from slurm.doctor.finding import Verdict, fail, found
from slurm.doctor.isolated import Unanswered, call_isolated
from slurm.doctor.pairs import CHECK as ALL_REDUCE
from slurm.doctor.subject import Subject
from slurm.submit import submission

CLOCK = "clock"
_FIRST_NODE_S = 60
"""How long the first node may start later than others."""
_POLL_S = 0.2


@dataclass(frozen=True)
class DoctorJob:
    """Examines the node that it runs on; one task per node."""

    subject: Subject
    """With ``node`` still open."""
    folder: Path
    """Seen by all nodes; the answers go into a folder there that is named after the job."""

    def __call__(self) -> None:
        submission.export_world()
        world = from_environment()
        folder = self.folder / str(world.job_id)
        answer = Answer(world.rank, world.node_name)
        answer.write(folder)
        if world.is_main:
            Ports(serve_time(), _free_port()).write(folder, world.attempt)
        subject = replace(self.subject, node=world.node_name, nodes=world.nodes, is_in_job=True)
        for finding in examine(subject, CHECKS):
            answer.findings.append(finding)
            answer.write(folder)
        if world.size > 1:
            _examine_together(world, subject, folder, answer)
        answer.is_done = True
        answer.write(folder)
        if world.is_main:
            # The others ask this process for the time.
            _wait_until(lambda: _all_done(folder, world.size), limit_s(world.size))


def _examine_together(world: World, subject: Subject, folder: Path, answer: Answer) -> None:
    if not _wait_until(lambda: read_ports(folder, world.attempt) is not None, _FIRST_NODE_S):
        verdict = fail("the first node has not started", "see its log, and srun's words in it")
        answer.findings.append(found(CLOCK, world.node_name, verdict))
        return
    ports = read_ports(folder, world.attempt)
    assert ports is not None
    if not world.is_main:
        answer.findings.append(found(CLOCK, world.node_name, _clock(ports.clock)))
        answer.write(folder)
    os.environ["MASTER_PORT"] = str(ports.meeting)
    try:
        limit = limit_s(world.size)
        answer.rates = call_isolated(limit, exchange, world, subject.config.device)
    except Unanswered as error:
        verdict = fail(str(error), "see its lines of torch, first node, host name and interface")
        answer.findings.append(found(ALL_REDUCE, world.node_name, verdict))


def _clock(port: int) -> Verdict:
    """This node's clock against the first node's."""
    host = os.environ["MASTER_ADDR"]
    try:
        skew_s, within_s = skew_to(host, port)
    except OSError as error:
        return fail(
            f"the first node, {host}, is not reached on a free port ({error})",
            "open the firewall between the nodes, or see the lines of first node and host name",
        )
    return skew_verdict(skew_s, within_s, "the first node's clock")


def _all_done(folder: Path, nodes: int) -> bool:
    return sum(answer.is_done for answer in read_answers(folder)) == nodes


def _wait_until(is_true: Callable[[], bool], limit_s: float) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
