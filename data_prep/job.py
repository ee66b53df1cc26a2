"""What is left to do in OUT, and how it is finished; other nodes can do parts of it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from data_prep.budget import MaxBad, keep_within
from data_prep.shard_plan import Check, ShardTask, SplitPlan
from data_prep.sources import SPLITS, Reader
from data_prep.sources.scan import scan
from data_prep.team import run_forked
from data_prep.wording import in_bytes, printable
from data_prep.writing.finish import SplitRecords, finish_split, tool_versions, write_manifest
from data_prep.writing.image_check import ImageCheck
from data_prep.writing.out_folder import SplitState
from data_prep.writing.read_back import read_back
from data_prep.writing.shard_job import Progress, write_shard
from data_prep.writing.work_folder import WorkFolder
from pipeline.errors import UserError
from pipeline.shards import Manifest, Quarantined, SplitManifest, names_name, samples_name

_BYTES_PER_SAMPLE = 2048
"""Of tar headers, padding, label, index and side files."""


@dataclass(frozen=True)
class Outcome:
    """What a run did and what OUT holds now."""

    out: Path
    layout: str
    """Of the source."""
    manifest: Manifest
    splits: list[str]
    """Those that the run was about."""
    shards_written: int
    images_written: int
    bytes_written: int
    """Of images, as they stand in the source."""
    repaired: list[str] = field(default_factory=list[str])
    """Other files that were missing or wrong."""


@dataclass(frozen=True)
class Todo:
    """A shard to write."""

    plan: SplitPlan
    index: int
    reader: Reader
    expected_sha256: str | None
    """Of one that is written again."""

    def task(self) -> ShardTask:
        """The whole of it, for a worker."""
        return self.plan.task(self.index, self.reader, self.expected_sha256)

    @property
    def is_done(self) -> bool:
        """Whether somebody has written it since."""
        return WorkFolder(self.plan.out, self.plan.split).load(self.index) is not None

    @property
    def images(self) -> int:
        return len(self.plan.positions(self.index))

    @property
    def bytes(self) -> int:
        """Of the images, as they stand in the source."""
        return int(self.plan.listing.entries.sizes[self.plan.positions(self.index)].sum())


def write_shards(
    shards: Sequence[Todo],
    workers: int,
    check: Check,
    begin: Callable[[], None],
    report: Progress,
) -> None:
    """Write shards on at most ``workers`` processes. ``begin`` and errors: see run_forked."""
    image_check = ImageCheck(check)

    def write(number: int, send: Callable[[tuple[int, int]], None]) -> None:
        write_shard(shards[number].task(), image_check, lambda *done: send(done))

    run_forked(write, len(shards), workers, lambda done: report(*done), begin)


@dataclass(frozen=True)
class Job:
    """What is to be done in OUT; picklable, so that other nodes can do parts of it."""

    out: Path
    plans: list[SplitPlan]
    states: list[SplitState]
    manifest: Manifest | None
    """Of OUT, before."""
    warnings: dict[str, list[str]]
    max_bad: MaxBad
    check: Check

    @property
    def todo(self) -> list[Todo]:
        """The shards to write."""
        found: list[Todo] = []
        for plan, state in zip(self.plans, self.states, strict=True):
            scratch = WorkFolder(self.out, plan.split).scratch
            reader = plan.listing.reader.with_scratch(_images(plan, state), scratch)
            for k in state.todo:
                sha256 = state.finished.shards[k].sha256 if state.finished else None
                found.append(Todo(plan, k, reader, sha256))
        return found

    @property
    def images(self) -> int:
        """Images of all splits, written or not."""
        return sum(len(plan.listing.entries) for plan in self.plans)

    def begin(self) -> None:
        """Check the disk and set the work folders up. Raises UserError where it is too full."""
        needed = sum(shard.bytes + shard.images * _BYTES_PER_SAMPLE for shard in self.todo)
        for plan, state in zip(self.plans, self.states, strict=True):
            needed += plan.listing.reader.scratch_bytes(_images(plan, state))
        free = shutil.disk_usage(self.out).free
        if needed > free:
            raise UserError(
                f"OUT={printable(self.out)}: the shards need about {in_bytes(needed)} and "
                f"{in_bytes(free)} are free; make room or choose another OUT"
            )
        for plan, state in zip(self.plans, self.states, strict=True):
            if state.todo or state.rebuild_side_files:
                about = {"dataset": plan.dataset, "options": plan.options}
                WorkFolder(self.out, plan.split).begin(about, plan.listing)
            if state.finished is not None and state.keep:
                scan(partial(_record_again, plan, state.finished), state.keep)

    def finish(self) -> Outcome:
        """Write what describes the shards, the manifest last.

        Raises DataError where shards are missing or too many images are bad.
        """
        todo = self.todo
        splits: dict[str, SplitManifest] = dict(self.manifest.splits) if self.manifest else {}
        for plan, state in zip(self.plans, self.states, strict=True):
            splits[plan.split] = self._finish_split(plan, state)
        repairing = self.manifest is not None and all(state.finished for state in self.states)
        written = Manifest(
            dataset=self.plans[0].dataset,
            classes=self.plans[0].classes,
            splits={name: splits[name] for name in SPLITS if name in splits},
            tools=self.manifest.tools if self.manifest and repairing else tool_versions(),
        )
        described = write_manifest(self.out, written)
        for plan in self.plans:
            WorkFolder(self.out, plan.split).remove()
        repaired = [name for state in self.states for name in state.repaired]
        for plan, state in zip(self.plans, self.states, strict=True):
            if state.finished is not None and state.rebuild_side_files:
                repaired += [name(plan.dataset, plan.split) for name in (samples_name, names_name)]
        return Outcome(
            out=self.out,
            layout=self.plans[0].source.layout,
            manifest=written,
            splits=[plan.split for plan in self.plans],
            shards_written=len(todo),
            images_written=sum(shard.images for shard in todo),
            bytes_written=sum(shard.bytes for shard in todo),
            repaired=[*repaired, *(described if repairing else [])],
        )

    def _finish_split(self, plan: SplitPlan, state: SplitState) -> SplitManifest:
        if state.finished is not None and not state.rebuild_side_files:
            self.judge(plan, state.finished.quarantine)
            return state.finished
        records = SplitRecords(plan)
        self.judge(plan, records.quarantine)
        made = finish_split(records, self.warnings[plan.split])
        if state.finished is None:
            return made
        # Repaired: where it came from at first, and what was said then, stays true.
        return replace(made, source=state.finished.source, warnings=state.finished.warnings)

    def judge(self, plan: SplitPlan, bad: Sequence[Quarantined]) -> None:
        """Raises DataError where more files are bad than the budget has."""
        keep_within(self.max_bad, plan.split, bad, plan.listing.files)


def _record_again(plan: SplitPlan, finished: SplitManifest, index: int) -> None:
    quarantine = {bad.name: bad for bad in finished.quarantine}
    record = read_back(plan, index, finished.shards[index], quarantine)
    WorkFolder(plan.out, plan.split).record(index, record)


def _images(plan: SplitPlan, state: SplitState) -> int:
    """Images of a split that will be read."""
    return sum(len(plan.positions(k)) for k in state.todo)
