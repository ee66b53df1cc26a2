"""Every check ends with a verdict: those that raise, hang or crash too."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from pipeline.config import Config
from pipeline.errors import DataError
from slurm.doctor.examining import Check, examine
from slurm.doctor.finding import Finding, Verdict, exit_code, fail, ok, warn
from slurm.doctor.subject import Subject

SUBJECT = Subject(Config(device="cpu"), "n7")


def well(subject: Subject) -> Verdict:
    print("noise of a library", flush=True)
    return ok(f"{subject.node} is well")


def nothing_to_see(subject: Subject) -> None:
    return None


def told_error(subject: Subject) -> Verdict:
    raise DataError("a.tar is damaged; repair it")


def bug(subject: Subject) -> Verdict:
    raise ZeroDivisionError("of all things")


def hangs(subject: Subject) -> Verdict:
    time.sleep(30)
    return ok("too late")


def crashes(subject: Subject) -> Verdict:
    os.kill(os.getpid(), signal.SIGSEGV)
    return ok("never")


def result(function: Callable[[Subject], Verdict | None], is_isolated: bool) -> list[Finding]:
    check = Check("it", function, "do this", limit_s=0.5, is_isolated=is_isolated)
    if is_isolated and function is not hangs:
        check = Check("it", function, "do this", limit_s=20, is_isolated=True)
    return list(examine(SUBJECT, [check]))


@pytest.mark.parametrize("is_isolated", [False, True])
@pytest.mark.parametrize(
    ("function", "state", "reason", "remedy"),
    [
        (well, "ok", "n7 is well", ""),
        (told_error, "fail", "a.tar is damaged", "repair it"),
        (bug, "fail", "ZeroDivisionError: of all things", "do this"),
        (hangs, "fail", "no answer within 0.5 s", "do this"),
    ],
)
def test_a_check_ends_with_a_verdict(
    function: Callable[[Subject], Verdict],
    state: str,
    reason: str,
    remedy: str,
    is_isolated: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    [finding] = result(function, is_isolated)
    assert finding == Finding("it", state, reason, remedy, "n7")
    assert "Traceback" not in capfd.readouterr().err


def test_a_crash_is_told_by_its_signal() -> None:
    [finding] = result(crashes, is_isolated=True)
    assert (finding.state, finding.remedy) == ("fail", "do this")
    assert "killed by SIGSEGV" in finding.reason


def test_what_does_not_apply_is_left_out() -> None:
    assert result(nothing_to_see, is_isolated=False) == []


def test_only_failures_change_the_exit_code() -> None:
    def findings(*verdicts: Verdict) -> list[Finding]:
        return [Finding("it", v.state, v.reason, v.remedy, "n7") for v in verdicts]

    assert exit_code(findings(ok("a"), warn("b", "c"))) == 0
    assert exit_code(findings(ok("a"), fail("b", "c"))) == 3
