"""Calls that may crash their process, or hang it: in one of their own (this module is its main)."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_WORDS_CHARS = 200
_ROOT = Path(__file__).resolve().parents[2]


class Unanswered(Exception):
    """Why a call has no result."""


def call_isolated(limit_s: float, function: Callable[..., T], *args: object) -> T:
    """The result of a function; it, its arguments and its result must pickle.

    Raises Unanswered where it raises, dies, or takes longer than ``limit_s``.
    """
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=pickle.dumps((function, args)),
            capture_output=True,
            timeout=limit_s,
            env=os.environ | {"PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        raise Unanswered(f"no answer within {limit_s:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        how = f"exit code {done.returncode}"
        if done.returncode < 0:
            how = f"killed by {signal.Signals(-done.returncode).name}"
        raise Unanswered(f"it died ({how}); its last words: {said[-1] if said else 'none'}")
    result, problem = pickle.loads(done.stdout)
    if problem is not None:
        raise Unanswered(problem)
    return result


def told(error: Exception) -> str:
    """An unexpected error in one line."""
    words = textwrap.shorten(str(error), _WORDS_CHARS, placeholder=" ...")
    return f"{type(error).__name__}: {words}"


def _serve() -> None:
    # Libraries print where they like: standard output is for the answer.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function, args = pickle.load(sys.stdin.buffer)
    try:
        outcome = (function(*args), None)
    except Exception as error:  # noqa: BLE001 (it reaches whoever asked)
        outcome = (None, told(error))
    answer.write(pickle.dumps(outcome))
    answer.flush()
    # Threads and teardowns of CUDA libraries can hang or crash what has its result already.
    os._exit(0)


if __name__ == "__main__":
    _serve()
