"""Errors that a person is meant to read, and the exit code that belongs to each."""

import sys
from collections.abc import Callable
from typing import NoReturn


class PipelineError(Exception):
    """Base of every expected error; its text says setting, value, rule and remedy."""

    exit_code = 1


class UserError(PipelineError):
    """The command or the config asks for something that cannot be done."""

    exit_code = 2


class PreflightError(PipelineError):
    """The job started on a machine that lacks what the config asks for."""

    exit_code = 3


class NodeUnfitError(PreflightError):
    """The fault is this node's own: the job can go on without it."""


class DataError(PipelineError):
    """Shards, images or labels are not what they claim to be."""

    exit_code = 4


class DivergedError(PipelineError):
    """The loss or the gradients stopped being finite."""

    exit_code = 5


STOPPED_EXIT_CODE = 130
"""A person stopped it, with Ctrl-C or a signal."""
REQUEUED_EXIT_CODE = 6
"""Training was preempted, saved a checkpoint and is queued again."""


def exit_with(error: PipelineError) -> NoReturn:
    """Print the error on stderr and leave with its exit code."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(error.exit_code)


def run_cli(main: Callable[[], int]) -> NoReturn:
    """Run a command's ``main``; expected errors become one message and an exit code."""
    try:
        code = main()
    except PipelineError as error:
        exit_with(error)
    except BrokenPipeError:
        # The reader (`| head`) left; Python would print a traceback while closing stdout.
        sys.stderr.close()
        code = 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = STOPPED_EXIT_CODE
    sys.exit(code)
