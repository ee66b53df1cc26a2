"""A shard opened for reading, with errors that name it."""

import os
import weakref

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError


class Tar:
    """An open shard. It is closed when the last reference goes, so no reader loses it."""

    def __init__(self, path: str, remedy: str):
        """``remedy``: what to do where it cannot be read. Raises DataError."""
        self.path, self._remedy = path, remedy
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise self._unreadable(error) from error
        weakref.finalize(self, os.close, self._descriptor)

    def read_into(self, buffer: NDArray[np.uint8], offset: int) -> None:
        """Fill ``buffer``, (bytes,) uint8 and contiguous, with what stands from ``offset`` on.

        Threads may share a Tar. Raises DataError where the file ends before, or fails.
        """
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer.data[done:]], offset + done)
            except OSError as error:
                raise self._unreadable(error) from error
            if not count:
                raise DataError(
                    f"{self.path} ends at byte {offset + done:,}, inside an image: it was cut "
                    f"after the start; {self._remedy}"
                )
            done += count

    def _unreadable(self, error: OSError) -> DataError:
        return DataError(f"{self.path} cannot be read ({error.strerror}); {self._remedy}")
