"""What faulthandler prints of a process, and where in the code that is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_FRAME = re.compile(r'\s+File "(?P<file>.*)", line (?P<line>\d+|\?\?\?) in (?P<function>.*)')
_OURS = re.compile(r"(?:^|/)pipeline/(?!watchdog/|collective\.py)")
_SHOWN_PARTS = 3


@dataclass(frozen=True)
class Frame:
    """A line of code that is being executed."""

    file: str
    line: str
    function: str

    def __str__(self) -> str:
        return f"{'/'.join(self.file.split('/')[-_SHOWN_PARTS:])}:{self.line} {self.function}"

    @property
    def is_exchange(self) -> bool:
        """It is torch's way to the other ranks."""
        return "/torch/distributed/" in self.file


def main_thread(dump: Sequence[str]) -> list[str]:
    """The main thread's part of a dump of all threads, which are the newest first."""
    starts = [number for number, line in enumerate(dump) if "(most recent call first)" in line]
    if not starts:
        return []
    lines = list(dump[starts[-1] :])
    end = next((number for number, line in enumerate(lines) if not line.strip()), len(lines))
    return lines[:end]


def frames(dump: Sequence[str]) -> list[Frame]:
    """Those of the main thread, the innermost first."""
    found = [_FRAME.match(line) for line in main_thread(dump)]
    return [Frame(f["file"], f["line"], f["function"]) for f in found if f]


def place(dump: Sequence[str]) -> str:
    """The innermost line, and the line of this project that led there; empty where unknown."""
    stack = frames(dump)
    if not stack:
        return ""
    ours = next((frame for frame in stack if _OURS.search(frame.file)), stack[0])
    return str(stack[0]) if ours is stack[0] else f"{stack[0]}, called from {ours}"
