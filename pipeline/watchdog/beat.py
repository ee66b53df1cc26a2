"""Where a rank stands among the exchanges with the others, noted where another process sees it."""

import contextlib
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PAGE = struct.Struct("=QQ?95s")
PAGE_BYTES = _PAGE.size


@dataclass(frozen=True)
class Moment:
    """What a rank is at."""

    exchanges: int
    """Begun so far; all ranks count alike, for none can begin one that the others do not."""
    step: int
    """Optimizer step at work or done, from 1; 0 before the first."""
    is_waiting: bool
    """It may be waiting for other ranks."""
    what: str
    """The exchange that it is in, or was in last."""

    @property
    def name(self) -> str:
        return f"{self.what}, step {self.step}" if self.step else self.what


class Beat:
    """Notes the moments of this rank in ``memory``; used by one thread."""

    def __init__(self, memory: mmap.mmap | bytearray):
        self._memory = memory
        self._exchanges, self._step, self._is_waiting, self._what = 0, 0, False, "start"
        self._note()

    @contextlib.contextmanager
    def waiting(self, what: str, step: int | None = None) -> Iterator[None]:
        """Within, this rank may be waiting for the others. step: where a new one begins."""
        outer = self._what if self._is_waiting else None
        if step is not None:
            self._step = step
        self._exchanges += 1
        self._is_waiting, self._what = True, what
        self._note()
        try:
            yield
        finally:
            self._is_waiting, self._what = outer is not None, outer or what
            self._note()

    def _note(self) -> None:
        what = self._what.encode()
        _PAGE.pack_into(self._memory, 0, self._exchanges, self._step, self._is_waiting, what)


def read_moment(memory: mmap.mmap) -> Moment:
    """What another process has noted."""
    page = memory[:PAGE_BYTES]
    # It may be in the middle of writing.
    while page != (page := memory[:PAGE_BYTES]):
        continue
    exchanges, step, is_waiting, what = _PAGE.unpack(page)
    return Moment(exchanges, step, is_waiting, what.rstrip(b"\0").decode(errors="replace"))
