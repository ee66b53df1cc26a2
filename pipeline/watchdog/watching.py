"""The process beside a rank: looks at it, and when ranks wait for too long, tells and ends it."""

import ctypes
import json
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.watchdog.beat import PAGE_BYTES, Moment, read_moment
from pipeline.watchdog.board import Board
from pipeline.watchdog.rank_process import RankProcess
from pipeline.watchdog.verdict import Report, Verdict, verdict

T = TypeVar("T")
_MOST_MARGIN_S = 10.0
_PR_SET_PDEATHSIG = 1
_SHOWN_STACKS = 3


@dataclass(frozen=True)
class Order:
    """What a rank tells the process that watches it; files are inherited by number."""

    rank: int
    world_size: int
    node: str
    pid: int
    timeout_s: float
    folder: str
    beat_fd: int
    stack_fd: int
    nodes_fd: int
    """JSON: the node of every rank; empty until they have met."""

    @property
    def margin_s(self) -> float:
        """The part of the time that is for finding out who it was."""
        return min(_MOST_MARGIN_S, self.timeout_s / 4)


class Stillness:
    """How long a rank has been at one moment.

    Waiting counts only while rank and watcher both run: a job that is suspended as a whole
    (gang scheduling, a debugger, a closed laptop) is not stuck.
    """

    def __init__(self, most_gap_s: float):
        self._most_gap_s = most_gap_s
        self._moment: Moment | None = None
        self._since_s = self._seen_s = 0.0
        self.idle_s = 0.0
        """Since the moment began."""
        self.counted_s = 0.0
        """The part of it that counts as waiting."""

    def look(self, moment: Moment, now_s: float, is_stopped: bool) -> None:
        """Note what is seen at ``now_s``."""
        if moment != self._moment:
            self._moment, self._since_s, self.counted_s = moment, now_s, 0.0
        elif not is_stopped:
            self.counted_s += min(now_s - self._seen_s, self._most_gap_s)
        self._seen_s = now_s
        self.idle_s = now_s - self._since_s


class Errands:
    """Calls that may never return, as those to a file system: made in a thread, and left there."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self.problem = ""

    def run(self, action: Callable[[], T], timeout_s: float) -> T | None:
        """The result; None where it took longer, or an earlier call still does, or it failed."""
        results: list[T] = []

        def errand() -> None:
            try:
                results.append(action())
            except OSError as error:
                self.problem = str(error)

        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=errand, daemon=True)
            self._thread.start()
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.problem = "it does not answer"
        return results[0] if results else None


class Watching:
    """Watches one rank to the end of either."""

    def __init__(self, order: Order):
        self._order = order
        self._rank = RankProcess(order.pid, order.stack_fd)
        self._board = Board(Path(order.folder))
        self._errands = Errands()
        self._memory = mmap.mmap(order.beat_fd, PAGE_BYTES, prot=mmap.PROT_READ)
        self._tick_s = min(0.5, order.margin_s / 16)

    def run(self) -> None:
        """Return when the rank is gone, or when it had to be ended."""
        order = self._order
        patience_s = order.timeout_s - order.margin_s
        still, next_look_s = Stillness(4 * self._tick_s), 0.0
        while self._is_there:
            time.sleep(self._tick_s)
            moment, now_s = read_moment(self._memory), time.monotonic()
            still.look(moment, now_s, self._rank.state in "Tt")
            if moment.is_waiting and still.counted_s > patience_s:
                return self._settle(moment, still.idle_s)
            # Whoever keeps others waiting has been still for as long as they have; until then
            # nobody troubles the file system.
            if still.idle_s > patience_s / 2 and now_s > next_look_s:
                next_look_s = now_s + order.margin_s / 8
                if self._errands.run(self._board.names, order.margin_s / 8):
                    return self._settle(moment, still.idle_s)

    @property
    def _is_there(self) -> bool:
        return os.getppid() == self._order.pid

    def _settle(self, moment: Moment, idle_s: float) -> None:
        """Report, wait for the others' reports, see to the verdict, and end the rank."""
        try:
            self._find_out(moment, idle_s)
        finally:
            # It may be stopped by now, and must not stay so.
            if self._is_there:
                self._rank.kill()

    def _find_out(self, moment: Moment, idle_s: float) -> None:
        margin_s, began_s = self._order.margin_s, time.monotonic()
        report = self._examined(moment, idle_s)
        self._errands.run(lambda: self._board.post(report), margin_s / 8)
        names = self._wait(
            lambda names: len(names) >= self._order.world_size, began_s + margin_s / 2
        )
        ranks = sorted(int(name) for name in names if name.isdigit())
        if not ranks:
            self._say(
                f'rank {report.rank} on {report.node} waited in vain in "{report.moment}" for '
                f"{idle_s:.0f} s; the run folder does not tell of the others: "
                f"{self._errands.problem or self._order.folder}"
            )
        elif ranks[0] == self._order.rank:
            self._errands.run(self._judge, margin_s / 4)
        else:
            self._wait(lambda names: "verdict" in names, began_s + 7 / 8 * margin_s)

    def _examined(self, moment: Moment, idle_s: float) -> Report:
        """What the rank is at. It stays there: else one that is asked for its stack, and so
        woken, could bring the exchange and the job to an end while others look for it."""
        span_s = self._order.margin_s / 10
        state = self._rank.state
        cpu_pct, blocked = self._rank.load(span_s)
        return Report(
            rank=self._order.rank,
            node=self._order.node,
            pid=self._order.pid,
            exchanges=moment.exchanges,
            moment=moment.name,
            is_waiting=moment.is_waiting,
            since_s=round(idle_s, 1),
            state=state,
            cpu_pct=round(cpu_pct, 1),
            blocked=blocked,
            stack=self._rank.stop(span_s),
        )

    def _wait(self, is_enough: Callable[[set[str]], bool], deadline_s: float) -> set[str]:
        """The names on the board, once they are enough or the time is up."""
        names: set[str] = set()
        while not is_enough(names) and time.monotonic() < deadline_s:
            time.sleep(self._tick_s)
            names = self._errands.run(self._board.names, self._order.margin_s / 8) or names
        return names

    def _judge(self) -> None:
        nodes = os.pread(self._order.nodes_fd, 1 << 24, 0)
        found = verdict(
            self._board.reports(),
            json.loads(nodes or b"[]"),
            self._order.world_size,
            self._order.timeout_s,
        )
        self._board.post_verdict(found)
        self._say(_told(found, self._order.folder))

    def _say(self, text: str) -> None:
        os.write(2, f"error: {text}\n".encode())


def watch(order: Order) -> None:
    """Watch the rank that has started this process; ends with it, however that ends."""
    # Even a killed rank leaves nothing behind that would keep a Slurm step alive.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    Watching(order).run()


def _told(found: Verdict, folder: str) -> str:
    lines = [f"{found.text}; reports: {folder}"]
    for culprit in found.culprits[:_SHOWN_STACKS]:
        lines += [f"{culprit}:", *culprit.stack[1:]] if culprit.stack else []
    return "\n".join(lines)
