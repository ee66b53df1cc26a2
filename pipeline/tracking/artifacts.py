"""The files that tell of a run: whole or absent, and never a reason for it to end."""

from pathlib import Path

from pipeline.durable import write_file
from pipeline.log import warn


class Artifacts:
    """Writes into the folder of a run's artifacts; what it cannot write, it warns of once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._has_warned = False

    def write(self, name: str, content: bytes) -> None:
        """Replace a file; ``name`` is its path in the folder."""
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, content)
        except OSError as error:
            if not self._has_warned:
                warn(
                    f"{path} cannot be written ({error.strerror}); training goes on without it "
                    "and, where it is refused alike, its other artifacts"
                )
            self._has_warned = True
