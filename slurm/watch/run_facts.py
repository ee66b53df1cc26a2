"""What a run folder says of its run, read in a millisecond: of a long journal only the end."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import DataError
from pipeline.tracking.journal import Record, metric_values, read_journal
from pipeline.tracking.lifecycle import Lifecycle, silence_s
from pipeline.tracking.run_folder import RunFolder, read_json
from pipeline.tracking.whole import is_whole
from slurm.records import (
    STAGES,
    FaultRecord,
    JobRecord,
    Stage,
    evaluation_file,
    read_faults,
    read_jobs,
)

_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 14
_SAMPLES_OF_PATIENCE = 3


@dataclass(frozen=True)
class Patience:
    """How long a healthy training may write nothing, in seconds."""

    journal_s: float = 120.0
    """The journal has a sample of the machine from time to time."""
    step_s: float = 600.0
    """Between two steps: evaluations and checkpoints take time."""


USUAL_PATIENCE = Patience()


@dataclass(frozen=True)
class RunFacts:
    """A run by its folder alone."""

    folder: RunFolder
    jobs: tuple[JobRecord, ...] = ()
    """Its submissions, oldest first; local runs have none."""
    faults: tuple[FaultRecord, ...] = ()
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    """By the last start or end in the journal."""
    journal_s: float | None = None
    """When the journal was last written to; seconds since the epoch, as all below."""
    progress: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """progress.json."""
    progress_s: float | None = None
    """When it was last written."""
    top1: float | None = None
    """Percent, of the last evaluation."""
    created_s: float | None = None
    cancelled: Mapping[str, float] = field(default_factory=dict[str, float])
    """When a person cancelled which job."""
    saved_step: int = 0
    """The step of the newest checkpoint, where there are faults to compare it with."""
    evaluated_s: float | None = None
    """When the evaluate stage last left a result."""
    evaluated_top1: float | None = None
    """Percent, of that result."""
    patience: Patience = USUAL_PATIENCE
    """How long a healthy training may be silent."""
    problem: str | None = None
    """Why run.json or progress.json could not be read."""

    @property
    def name(self) -> str:
        return self.folder.path.absolute().name

    @property
    def last_jobs(self) -> dict[Stage, JobRecord]:
        """The last submission of each stage, in the order of the stages."""
        last = {job.stage: job for job in self.jobs}
        return {stage: last[stage] for stage in STAGES if stage in last}

    @property
    def last_record_s(self) -> float | None:
        """When the training last started or ended."""
        last = self.lifecycle.last
        return None if last is None else int(last["t_ms"]) / 1000

    @property
    def step(self) -> int | None:
        """Optimizer steps done; None before the first."""
        return self.progress.get("step")

    @property
    def total_steps(self) -> int | None:
        return self.progress.get("total")

    @property
    def last_step_s(self) -> float | None:
        """When the training last made a step, or started."""
        moments = [self.progress_s, self.last_record_s]
        return max((moment for moment in moments if moment is not None), default=None)

    @property
    def sign_of_life_s(self) -> float | None:
        """When the training last wrote anything."""
        moments = [moment for moment in (self.journal_s, self.progress_s) if moment is not None]
        return max(moments, default=None)

    @property
    def is_silent(self) -> bool:
        """Whether nothing was written for longer than any training that lives takes."""
        silent_s = time.time() - (self.sign_of_life_s or 0.0)
        return silent_s > silence_s(self.patience.journal_s / _SAMPLES_OF_PATIENCE)

    @property
    def latest_s(self) -> float:
        """When anything was last known of the run."""
        submitted = [job.submitted_s for job in self.jobs[-1:]]
        known = [self.sign_of_life_s, self.created_s, self.last_record_s, *submitted]
        return max((moment for moment in known if moment is not None), default=0.0)


def read_facts(path: Path) -> RunFacts:
    """Read a run folder; what is damaged in it is left out and named."""
    folder = RunFolder(path)
    problem = None
    info: dict[str, Any] = {}
    progress: dict[str, Any] = {}
    try:
        info, progress = read_json(folder.info), read_json(folder.progress)
    except (DataError, OSError) as error:
        problem = str(error)
    lifecycle, top1 = read_journal_end(folder.journal)
    faults = tuple(read_faults(folder))
    progress_s = written_s(folder.progress)
    is_quiet = time.time() - (progress_s or 0) > USUAL_PATIENCE.journal_s
    return RunFacts(
        folder=folder,
        jobs=tuple(read_jobs(folder)),
        faults=faults,
        lifecycle=lifecycle,
        journal_s=written_s(folder.journal),
        progress=progress,
        progress_s=progress_s,
        top1=top1,
        created_s=info["created_ms"] / 1000 if "created_ms" in info else None,
        cancelled=info.get("cancelled_jobs", {}),
        saved_step=folder.saved_step if faults else 0,
        evaluated_s=written_s(evaluation_file(folder)),
        evaluated_top1=_evaluated_top1(evaluation_file(folder)),
        # Looked up where it matters alone.
        patience=_patience(folder.journal) if is_quiet and not lifecycle.ended else USUAL_PATIENCE,
        problem=problem,
    )


def _evaluated_top1(path: Path) -> float | None:
    try:
        return float(json.loads(path.read_bytes())["top1"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not evaluated yet, or by a version that wrote something else


def first_settings(journal: Path) -> dict[str, str]:
    """The settings that a run began with, by dotted key; none before that."""
    try:
        # A hundredth of the time that reading the YAML takes; they come right after the start.
        records = read_journal(journal, max_bytes=_HEAD_BYTES).records
    except FileNotFoundError:
        return {}
    return next((record["params"] for record in records if record["kind"] == "params"), {})


def _patience(journal: Path) -> Patience:
    settings, usual = first_settings(journal), USUAL_PATIENCE
    samples_s = _SAMPLES_OF_PATIENCE * float(settings.get("tracking.system_every_s", 0.0))
    steps_s = float(settings.get("engine.collective_timeout_s", usual.step_s))
    return Patience(max(usual.journal_s, samples_s), max(usual.journal_s, steps_s))


def read_journal_end(path: Path) -> tuple[Lifecycle, float | None]:
    """The last start or end in a journal, and the last top-1 (percent), read from its end."""
    lifecycle = Lifecycle()
    try:
        with path.open("rb") as file:
            last = last_record(file, (b'"kind":"start"', b'"kind":"end"'))
            # The record of a model repeats those of its checkpoint.
            evaluation = last_record(file, (b'"val/top1":',), kind="metrics")
    except FileNotFoundError:
        return lifecycle, None
    lifecycle.see([] if last is None else [last])
    return lifecycle, None if evaluation is None else metric_values(evaluation)["val/top1"]


def last_record(file: BinaryIO, marks: Sequence[bytes], kind: str | None = None) -> Record | None:
    """The last whole record, of that kind if one is given, that holds one of the marks.

    A journal is read backwards, in blocks.
    """
    begin, rest = file.seek(0, os.SEEK_END), b""
    while begin > 0:
        end, begin = begin, max(0, begin - _BLOCK_BYTES)
        file.seek(begin)
        text = file.read(end - begin) + rest
        # What a block begins with may be the end of a line.
        head, newline, lines = text.partition(b"\n") if begin else (b"", b"", text)
        rest = head + newline
        if begin and not newline:
            rest, lines = text, b""
        if (found := _last_of(lines, marks, kind)) is not None:
            return found
    return None


def _last_of(lines: bytes, marks: Sequence[bytes], kind: str | None) -> Record | None:
    end = lines.rfind(b"\n") + 1  # a line without its end is being written
    while (found := max(lines.rfind(mark, 0, end) for mark in marks)) >= 0:
        begin = lines.rfind(b"\n", 0, found) + 1
        try:
            record = json.loads(lines[begin : lines.index(b"\n", found)])
        except ValueError:
            record = None  # damaged: the one before it
        if is_whole(record) and kind in (None, record["kind"]):
            return record
        end = begin
    return None


def written_s(path: Path) -> float | None:
    """When a file was last written to; None where there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
