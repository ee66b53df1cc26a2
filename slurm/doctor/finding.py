"""What a check found: a state, its reason, and what helps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import PreflightError

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Verdict:
    """What a check says of the machine that it ran on."""

    state: State
    reason: str
    remedy: str = ""
    """Empty where all is well."""


def ok(reason: str) -> Verdict:
    """All is well."""
    return Verdict("ok", reason)


def warn(reason: str, remedy: str) -> Verdict:
    """Training runs, but worse than it could, or not for long."""
    return Verdict("warn", reason, remedy)


def fail(reason: str, remedy: str) -> Verdict:
    """Training cannot run like this."""
    return Verdict("fail", reason, remedy)


@dataclass(frozen=True)
class Finding:
    """A verdict, and whose it is."""

    check: str
    state: State
    reason: str
    remedy: str
    node: str


def found(check: str, node: str, verdict: Verdict) -> Finding:
    """The finding of a check on a node."""
    return Finding(check, verdict.state, verdict.reason, verdict.remedy, node)


def exit_code(findings: Iterable[Finding]) -> int:
    """0, or 3 where something fails."""
    return PreflightError.exit_code if any(f.state == "fail" for f in findings) else 0
