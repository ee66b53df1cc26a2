"""The files that tell of a run: whole or absent, and never a reason for it to end."""

from collections.abc import Callable
from pathlib import Path

from pipeline.durable import write_file
from pipeline.log import warn

# RuntimeError is torch's, such as for a device without memory.
_UNMAKEABLE = (MemoryError, OSError, RuntimeError, ValueError)


class Artifacts:
    """Writes into the folder of a run's artifacts.

    What it cannot write, it warns of once; what it cannot make, once a file.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._has_warned = False
        self._unmade: set[str] = set()

    def write(self, name: str, content: Callable[[], bytes]) -> None:
        """Replace a file; ``name`` is its path in the folder, ``content`` makes it."""
        path = self._folder / name
        try:
            made = content()
        except _UNMAKEABLE as error:
            if name not in self._unmade:
                reason = f"{type(error).__name__}: {error}"
                warn(f"{path} cannot be made ({reason}); training goes on without it")
            self._unmade.add(name)
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, made)
        except OSError as error:
            if not self._has_warned:
                warn(
                    f"{path} cannot be written ({error.strerror}); training goes on without it "
                    "and, where it is refused alike, its other artifacts"
                )
            self._has_warned = True
