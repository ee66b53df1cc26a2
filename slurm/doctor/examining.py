"""Runs checks so that each one ends, in time, with a verdict."""

import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Thread

from pipeline.errors import PipelineError
from slurm.doctor.finding import Finding, Verdict, fail, found
from slurm.doctor.isolated import Unanswered, call_isolated, told
from slurm.doctor.subject import Subject

Examine = Callable[[Subject], Verdict | None]
"""Looks at the machine that it runs on; None: there is nothing to look at."""


@dataclass(frozen=True)
class Check:
    """One thing to look at."""

    name: str
    examine: Examine
    remedy: str
    """What helps where it gives no verdict."""
    limit_s: float = 10.0
    is_isolated: bool = False
    """In a process of its own: libraries may crash it, or hang where no thread can be ended."""


def examine(subject: Subject, checks: Sequence[Check]) -> Iterator[Finding]:
    """One check after the other, so that none slows another down."""
    for check in checks:
        verdict = _in_process(check, subject) if check.is_isolated else _in_thread(check, subject)
        if verdict is not None:
            yield found(check.name, subject.node, verdict)


def _in_thread(check: Check, subject: Subject) -> Verdict | None:
    answers: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()
    # A daemon: one that a dead file server holds must not hold the others.
    Thread(target=lambda: answers.put(_verdict(check, subject)), daemon=True).start()
    try:
        return answers.get(timeout=check.limit_s)
    except queue.Empty:
        return fail(f"no answer within {check.limit_s:g} s", check.remedy)


def _in_process(check: Check, subject: Subject) -> Verdict | None:
    try:
        return call_isolated(check.limit_s, _verdict, check, subject)
    except Unanswered as error:
        return fail(str(error), check.remedy)


def _verdict(check: Check, subject: Subject) -> Verdict | None:
    try:
        return check.examine(subject)
    except PipelineError as error:
        # They say what is wrong; what helps.
        reason, _, remedy = str(error).partition("; ")
        return fail(reason, remedy or check.remedy)
    except Exception as error:  # noqa: BLE001 (a broken machine breaks in any way: that is a finding)
        return fail(told(error), check.remedy)
