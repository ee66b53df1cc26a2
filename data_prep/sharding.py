"""The whole job: list, plan, write what is missing, finish. No terminal and no arguments."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.budget import DEFAULT_MAX_BAD, MaxBad, keep_within
from data_prep.finish import (
    finish_split,
    quarantined,
    split_records,
    tool_versions,
    write_manifest,
)
from data_prep.image_check import Check
from data_prep.labels import label_warnings
from data_prep.out_folder import SplitState, examine, existing_dataset, existing_manifest, opened
from data_prep.shard_plan import ShardTask, SplitPlan, chosen_shards
from data_prep.sources import SPLITS, Source
from data_prep.sources.imagefolder import open_folder
from data_prep.wording import plural, printable
from data_prep.work_folder import WorkFolder
from data_prep.workers import run_tasks
from pipeline.errors import DataError, UserError
from pipeline.shards import Manifest, Quarantined, SplitManifest

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BYTES_PER_SAMPLE = 2048
"""Of tar headers, padding, label, index and side files."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for; None: not said."""

    source: Path
    out: Path | None = None
    split: str | None = None
    name: str | None = None
    seed: int = 0
    shards: int | None = None
    samples_per_shard: int | None = None
    max_bad: MaxBad = DEFAULT_MAX_BAD
    check: Check = "full"
    strict_labels: bool = False
    workers: int = 1


class Watcher:
    """Told what happens; this one ignores it."""

    def notice(self, message: str) -> None:
        """Something that should be known but stops nothing."""

    def begin(self, images: int, images_done: int) -> None:
        """Writing starts: images in all splits, and those in shards that are whole."""

    def advance(self, images: int, size: int) -> None:
        """Images and bytes checked since the last call."""


@dataclass(frozen=True)
class Outcome:
    """What a run did and what OUT holds now."""

    out: Path
    manifest: Manifest
    splits: list[str]
    """Those that the run was about."""
    shards_written: int
    images_written: int
    bytes_written: int
    repaired: list[str] = field(default_factory=list)
    """Other files that were missing or wrong."""


def shard_source(request: Request, watcher: Watcher) -> Outcome:
    """Bring OUT to what the request asks for.

    Raises UserError for what cannot be done, DataError for a source that is not sound.
    """
    source = open_folder(request.source, request.split)
    for message in _notices(source):
        watcher.notice(message)
    out = request.out or Path("shards") / (request.name or source.suggested_name)
    _keep_apart(source.path, out)
    with opened(out):
        manifest = existing_manifest(out)
        plans = _plans(request, source, out, manifest)
        warnings = {
            plan.split: label_warnings(plan.listing, plan.classes, request.strict_labels)
            for plan in plans
        }
        for message in (text for texts in warnings.values() for text in texts):
            watcher.notice(message)
        for plan in plans:
            _judge(plan, quarantined(plan, []), request.max_bad)
        return _write(request, plans, manifest, warnings, watcher)


def _write(
    request: Request,
    plans: list[SplitPlan],
    manifest: Manifest | None,
    warnings: dict[str, list[str]],
    watcher: Watcher,
) -> Outcome:
    out = plans[0].out
    states = [examine(plan, manifest) for plan in plans]
    tasks = [task for pair in zip(plans, states, strict=True) for task in _tasks(*pair)]
    _ensure_space(out, tasks)
    for plan, state in zip(plans, states, strict=True):
        if state.todo or state.finished is None:
            about = {"dataset": plan.dataset, "options": plan.options}
            WorkFolder(out, plan.split).begin(about, plan.listing.stamps())
    images = sum(len(task.entries) for task in tasks)
    total = sum(len(plan.listing.entries) for plan in plans)
    watcher.begin(total, total - images)
    run_tasks(tasks, request.workers, request.check, watcher.advance)
    splits: dict[str, SplitManifest] = dict(manifest.splits) if manifest else {}
    for plan, state in zip(plans, states, strict=True):
        splits[plan.split] = _finish(plan, state, warnings[plan.split], request.max_bad)
    repairing = manifest is not None and all(state.finished for state in states)
    written = Manifest(
        dataset=plans[0].dataset,
        classes=plans[0].classes,
        splits={name: splits[name] for name in SPLITS if name in splits},
        tools=manifest.tools if manifest and repairing else tool_versions(),
    )
    described = write_manifest(out, written)
    for plan in plans:
        WorkFolder(out, plan.split).remove()
    repaired = [name for state in states for name in state.repaired]
    return Outcome(
        out=out,
        manifest=written,
        splits=[plan.split for plan in plans],
        shards_written=len(tasks),
        images_written=images,
        bytes_written=sum(entry.bytes for task in tasks for entry in task.entries),
        repaired=[*repaired, *(described if repairing else [])],
    )


def _finish(
    plan: SplitPlan, state: SplitState, warnings: list[str], max_bad: MaxBad
) -> SplitManifest:
    if state.finished is not None and not state.rebuild_side_files:
        _judge(plan, state.finished.quarantine, max_bad)
        return state.finished
    records = split_records(plan)
    _judge(plan, quarantined(plan, records), max_bad)
    return finish_split(plan, records, warnings)


def _tasks(plan: SplitPlan, state: SplitState) -> list[ShardTask]:
    hashes = [shard.sha256 for shard in state.finished.shards] if state.finished else None
    return [plan.task(k, hashes[k] if hashes else None) for k in state.todo]


def _judge(plan: SplitPlan, bad: Sequence[Quarantined], max_bad: MaxBad) -> None:
    keep_within(max_bad, plan.split, bad, len(plan.listing.stamps()))


def _plans(
    request: Request, source: Source, out: Path, manifest: Manifest | None
) -> list[SplitPlan]:
    dataset = request.name or existing_dataset(out) or source.suggested_name
    if manifest and dataset != manifest.dataset:
        raise UserError(
            f"--name {dataset}: OUT={printable(out)} holds the dataset {manifest.dataset}; "
            "leave --name out or use another OUT"
        )
    if not _NAME.fullmatch(dataset):
        raise UserError(f"--name {dataset!r} may hold only letters, digits, _ and -; change it")
    classes = _class_list(source, out, manifest)
    plans: list[SplitPlan] = []
    for listing in source.listings:
        if not listing.entries:
            raise DataError(
                f"{listing.split} of SOURCE={printable(source.path)} holds no images at all"
            )
        shards = chosen_shards(
            len(listing.entries), listing.split, request.shards, request.samples_per_shard
        )
        plans.append(
            SplitPlan(out, dataset, classes, source, listing, request.seed, shards, request.check)
        )
    return plans


def _class_list(source: Source, out: Path, manifest: Manifest | None) -> list[str]:
    """The classes that labels count in: OUT's, where it holds another split already."""
    splits = {listing.split for listing in source.listings}
    others = set(manifest.splits) - splits if manifest else set[str]()
    if manifest is None or not others:
        return source.classes
    if set(source.classes) <= set(manifest.classes) and "train" in others:
        return manifest.classes
    if source.classes == manifest.classes:
        return manifest.classes
    raise DataError(
        f"OUT={printable(out)} holds {' and '.join(sorted(others))} with labels in "
        f"{len(manifest.classes)} classes, SOURCE has {len(source.classes)} other ones; "
        "shard train first, or both splits into another OUT"
    )


def _notices(source: Source) -> list[str]:
    hidden = sum(listing.hidden_files for listing in source.listings)
    notices = [*source.notices, *(text for part in source.listings for text in part.notices)]
    return [*notices, f"ignored {plural(hidden, 'hidden file')}"] if hidden else notices


def _keep_apart(source: Path, out: Path) -> None:
    inner, outer = source.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UserError(
            f"OUT={printable(out)} and SOURCE={printable(source)} lie inside each other; "
            "choose an OUT outside SOURCE"
        )


def _ensure_space(out: Path, tasks: Sequence[ShardTask]) -> None:
    needed = sum(entry.bytes + _BYTES_PER_SAMPLE for task in tasks for entry in task.entries)
    free = shutil.disk_usage(out).free
    if tasks and needed > free:
        raise UserError(
            f"OUT={printable(out)}: the shards need about {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free; make room or choose another OUT"
        )
