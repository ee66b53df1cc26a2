"""Which version of the code runs."""

import subprocess
from pathlib import Path

_GIT_TIMEOUT_S = 10.0


def git_state(folder: Path) -> dict[str, str]:
    """``git_commit`` (hex) and ``git_dirty`` (true, false) of the checkout around ``folder``.

    Empty where there is no checkout, as in a code snapshot, or no git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if changes is None:
        return {"git_commit": commit}
    return {"git_commit": commit, "git_dirty": "true" if changes else "false"}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
