"""Which code runs: its commit, what was changed since, and the snapshot that it runs from."""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.durable import write_file
from pipeline.redact import SECRET_NAME, redact

ORIGIN = "origin.json"
"""In a snapshot of the code, which has no git: where it was taken from."""
LOCK = "requirements.lock"
"""Beside the packages of a checkout, and in its snapshots: the versions it is meant for."""
MOST_BYTES = 1_000_000
"""Of a diff that is kept."""

_GIT_TIMEOUT_S = 10.0
# Whatever a person's own settings say.
_PLAIN_DIFF = (
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "-U3",
    "--submodule=short",
)
_NAMED_SECRET = re.compile(
    rf"((?:{SECRET_NAME}|\bauthorization)['\"]?[ \t]*[:=][ \t]*)\S.*|(\bbearer[ \t]+)\S+",
    re.IGNORECASE,
)
_SHOWN_UNTRACKED = 200


@dataclass(frozen=True)
class Origin:
    """Where code comes from; None is what git does not say."""

    git_commit: str | None = None
    """Hex."""
    is_dirty: bool | None = None
    """Tracked files differ from the commit, or a package of the code has untracked ones."""
    diff: str = ""
    """Of a dirty checkout, as ``diff_text`` keeps it; about MOST_BYTES at most."""
    snapshot: str | None = None
    """The hash that names the snapshot."""

    def tags(self) -> dict[str, str]:
        """git_commit, git_dirty (true, false) and snapshot, as far as they are known."""
        dirty = None if self.is_dirty is None else str(self.is_dirty).lower()
        texts = {
            "git_commit": self.git_commit,
            "git_dirty": dirty,
            "snapshot": self.snapshot,
        }
        return {key: text for key, text in texts.items() if text is not None}


def origin_of(root: Path) -> Origin:
    """The origin of the code in ``root``, the folder that holds its packages.

    A snapshot tells its own; else git is asked, and where it does not track the code, as in an
    installed package, nothing is known.
    """
    try:
        return Origin(**json.loads((root / ORIGIN).read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or _git(root, "ls-files", "--error-unmatch", "--", "pipeline") is None:
        return Origin()
    changes = _git(root, "diff", *_PLAIN_DIFF, "HEAD", "--", ".")
    untracked = _git(root, "ls-files", "--others", "--exclude-standard")
    if changes is None or untracked is None:
        return Origin(commit)
    names = untracked.splitlines()
    packages = {path.parent.name for path in root.glob("*/__init__.py")}
    if not changes and not any(name.partition("/")[0] in packages for name in names):
        return Origin(commit, is_dirty=False)
    return Origin(commit, is_dirty=True, diff=diff_text(commit, changes, names))


def write_origin(root: Path, origin: Origin) -> None:
    """Let ``origin_of(root)`` be this one. Raises OSError."""
    write_file(root / ORIGIN, json.dumps(asdict(origin)).encode())


def diff_text(commit: str, changes: str, untracked: Sequence[str]) -> str:
    """What is kept of a dirty checkout; ``git apply`` takes it, if nothing was cut off or masked.

    Masked are credentials in addresses, as ``redact`` does it; in every line, added or not, all
    behind a name that ends like that of a secret (password, token, api_key) and a : or =; and
    what follows "Bearer". Such a line says ``***`` and may have to be mended by hand. A secret
    that nothing names so is not known as one and stays.
    """
    head = [f"# since commit {commit}"]
    if untracked:
        head.append("# not tracked by git, only named here:")
        head += [f"#   {name}" for name in untracked[:_SHOWN_UNTRACKED]]
        more = len(untracked) - _SHOWN_UNTRACKED
        head += [f"#   and {more:,} more"] if more > 0 else []
    text = redact(_bounded("\n".join([*head, changes]) + "\n"))
    return _NAMED_SECRET.sub(r"\1\2***", text)


def _bounded(text: str) -> str:
    """Cut at the end of a line, so that no half of a secret is left over."""
    content = text.encode()
    if len(content) <= MOST_BYTES:
        return text
    kept = content[: content.rfind(b"\n", 0, MOST_BYTES) + 1]
    left_out = len(content) - len(kept)
    return f"{kept.decode()}# cut here: {left_out:,} of {len(content):,} bytes are left out\n"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, without the last line's end; None where it fails or is missing."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    # Sources may be of any encoding.
    return done.stdout.decode(errors="replace").rstrip("\n") if done.returncode == 0 else None
