"""What a person sees in the terminal: messages, tables and progress, all on stderr.

stdout belongs to results (``--json``, tables). NO_COLOR and non-terminals are honoured.
"""

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


@functools.cache
def console(stderr: bool = True) -> "Console":
    """The one rich console of a stream, so that messages appear above a live bar.

    Files and pipes get lines of 100 characters at most where something is laid out.
    """
    # rich takes a tenth of a second to import: only where something is laid out or coloured.
    from rich.console import Console

    terminal = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not terminal.is_terminal:
        terminal.width = 100
    return terminal


def info(message: str) -> None:
    """A line for the person watching."""
    _say(message)


def warn(message: str) -> None:
    """Something that works on but should be known."""
    _say(f"warning: {message}", "yellow")


@contextlib.contextmanager
def each_once() -> Iterator[None]:
    """While the block runs, a message that was there already is not shown again."""
    _shown.append(set())
    try:
        yield
    finally:
        _shown.pop()


_shown: list[set[str]] = []
"""A set for each block that runs."""


def _say(message: str, style: str | None = None) -> None:
    if _shown:
        if message in _shown[-1]:
            return
        _shown[-1].add(message)
    if sys.stderr.isatty():
        console().print(message, style=style, markup=False)
    else:
        print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """``75.2 -> '1:15'``, ``3700 -> '1:01:40'``."""
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


class ProgressLine:
    """Progress of a counted job: a live bar on a terminal, else one line per ``every_s``.

    ``clock`` gives seconds. A disabled line (other ranks) shows nothing.
    """

    def __init__(
        self,
        what: str,
        total: int,
        start: int = 0,
        every_s: float = 10.0,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._what, self._total, self._start, self._done = what, total, start, start
        self._every_s, self._enabled, self._clock = every_s, enabled, clock
        self._began = self._last = clock()
        self._bar: Progress | None = None
        if enabled and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task(what, total=total, completed=start, facts="")
            self._bar.start()

    def update(self, done: int, facts: Mapping[str, str] | None = None) -> None:
        """Report ``done`` of the total; facts are short texts such as ``{"loss": "1.23"}``."""
        self._done = done
        text = " ".join(f"{name} {value}" for name, value in (facts or {}).items())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, facts=text)
        elif self._enabled and self._clock() - self._last >= self._every_s:
            self._last = self._clock()
            info(f"{self._what} {done}/{self._total} {text} ETA {self._eta()}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()

    def _eta(self) -> str:
        worked = self._done - self._start
        if not worked:
            return "?"
        return duration((self._clock() - self._began) / worked * (self._total - self._done))


def _bar() -> "Progress":
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("ETA"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[facts]}"),
        console=console(),
        transient=True,
    )
