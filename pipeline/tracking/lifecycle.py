"""Whether a run is at work, over, or gone without a word."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pipeline.tracking.journal import Record, now_ms

EndStatus = Literal["FINISHED", "FAILED", "KILLED", "REQUEUED"]
"""How a process may end its work on a run; REQUEUED means that the run goes on later."""
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED", "REQUEUED", "LOST", "NEW"]
"""LOST: the process is gone and wrote no end. NEW: nothing has been started."""

SILENT_S = 900.0
"""More than the clocks of two machines are apart, and than a file system hesitates."""
_SILENT_SAMPLES = 10
_SAMPLES = "tracking.system_every_s"


@dataclass(frozen=True)
class Process:
    """A process by what tells it from a later one of the same number."""

    pid: int
    host: str
    started_s: float
    """Seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The living process of this number on this host; None where there is none."""
        import psutil

        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, os.uname().nodename, process.create_time())
        except psutil.NoSuchProcess:
            return None

    @property
    def is_gone(self) -> bool:
        """True only where it is known: the process of another host counts as alive."""
        if self.host != os.uname().nodename:
            return False
        now = Process.of(self.pid)
        # The creation time is derived from the boot time, which clock corrections move a little.
        return now is None or abs(now.started_s - self.started_s) > 2.0

    def as_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "host": self.host, "started_s": self.started_s}


@dataclass
class Lifecycle:
    """Follows the ``start`` and ``end`` records of a journal.

    Whoever shows it all records lets it tell also of a process on another host that it is gone:
    a thread samples the machine whatever the training does, so one that has written nothing for
    SILENT_S and for ten samples is LOST, until it writes again.
    """

    last: Record | None = None
    last_ms: int = 0
    """When the last record was written, in milliseconds since the epoch."""
    _sample_every_s: float | None = None

    def see(self, records: list[Record]) -> None:
        """Take further records into account, in the journal's order."""
        for record in records:
            if record["kind"] in ("start", "end"):
                self.last = record
            elif record["kind"] in ("params", "tags"):
                self._see_settings(record)
            self.last_ms = max(self.last_ms, record["t_ms"])

    def _see_settings(self, record: Record) -> None:
        texts = record[record["kind"]]
        # Tags have what changed since the first launch.
        text = texts.get(_SAMPLES if record["kind"] == "params" else f"latest.{_SAMPLES}")
        if text is not None:
            try:
                self._sample_every_s = float(text)
            except ValueError:
                self._sample_every_s = None  # not known, so silence says nothing

    @property
    def process(self) -> Process | None:
        """Who works on the run, as far as the journal says."""
        if self.last is None or self.last["kind"] != "start":
            return None
        return _process(self.last.get("process"))

    @property
    def ended(self) -> bool:
        return self.last is not None and self.last["kind"] == "end"

    @property
    def status(self) -> Status:
        """The state of the run now."""
        if self.last is None:
            return "NEW"
        if self.last["kind"] == "end":
            return read_end_status(self.last)
        process = self.process
        if process is None:
            return "RUNNING"
        return "LOST" if process.is_gone or self._is_silent(process) else "RUNNING"

    def _is_silent(self, process: Process) -> bool:
        if process.host == os.uname().nodename or self._sample_every_s is None:
            return False
        return (now_ms() - self.last_ms) / 1000 > silence_s(self._sample_every_s)


def silence_s(sample_every_s: float) -> float:
    """How long a training that lives writes nothing at most; seconds."""
    return max(SILENT_S, _SILENT_SAMPLES * sample_every_s)


def read_end_status(record: Record) -> EndStatus:
    """The status of an ``end`` record; one that this version does not know is FAILED."""
    for status in get_args(EndStatus):
        if record.get("status") == status:
            return status
    return "FAILED"


def _process(facts: Mapping[str, Any] | None) -> Process | None:
    if facts is None:
        return None
    return Process(int(facts["pid"]), str(facts["host"]), float(facts["started_s"]))
