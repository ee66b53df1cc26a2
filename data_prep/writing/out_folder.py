"""What OUT already holds, and whether it belongs to the shards that are asked for."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.durable import LOCK, is_temporary, only_writer, remove_leftovers, write_file
from data_prep.shard_plan import SplitPlan
from data_prep.sources.scan import scan
from data_prep.wording import named, plural, printable
from data_prep.writing.finished import (
    damaged_shards,
    is_whole,
    repair_indexes,
    side_files_whole,
    source_sizes,
    with_index_hashes,
)
from data_prep.writing.work_folder import WorkFolder, is_work_folder
from pipeline.errors import UserError
from pipeline.shards import FIRST_VERSION, MANIFEST, Manifest, SplitManifest, read_manifest
from slurm.submit.submission import in_queue

_SETTINGS = {
    "seed": "--seed",
    "shards": "--shards",
    "check": "--check",
    "max_side": "--max-side",
    "quality": "--quality",
    "classes_sha256": "the class list",
}


_CLAIM = ".shard.jobs"
"""Names the Slurm jobs that write here; they hold no lock while they wait."""


@contextmanager
def opened(out: Path, as_job: bool = False) -> Generator[None]:
    """Create OUT where needed and hold it as its only writer.

    A folder that was created and stays empty is removed again. Raises UserError for a folder
    that is not ours, cannot be written, or has another writer. ``as_job``: the claim is our own.
    """
    created = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(out)
    except OSError as error:
        raise UserError(
            f"OUT={printable(out)} cannot be used ({error.strerror}); name one you may write to"
        ) from None
    try:
        with only_writer(out):
            if not as_job:
                _refuse_claimed(out)
            _clean(out)
            try:
                yield
            finally:
                # Of workers that were ended; but jobs that were just submitted may be at work.
                if not (out / _CLAIM).exists():
                    _clean(out)
    finally:
        if created and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _clean(out: Path) -> None:
    work = [item for item in out.iterdir() if is_work_folder(item.name) and item.is_dir()]
    scratch = [folder / item.name for folder in work for item in folder.iterdir() if item.is_dir()]
    for folder in (out, *work, *scratch):
        remove_leftovers(folder)


def claim(out: Path, jobs: Sequence[str]) -> None:
    """Keep others away until these Slurm jobs have ended or the claim is released."""
    write_file(out / _CLAIM, "\n".join(jobs).encode())


def release(out: Path) -> None:
    """End the claim of Slurm jobs."""
    (out / _CLAIM).unlink(missing_ok=True)


def _refuse_claimed(out: Path) -> None:
    path = out / _CLAIM
    if not path.exists():
        return
    jobs = path.read_text().split()
    queued = in_queue(jobs)
    if queued is False:
        release(out)  # they were cancelled or lost
        return
    raise UserError(
        f"OUT={printable(out)}: the Slurm jobs {' and '.join(jobs)} write there"
        + (
            f"; wait for them, end them (scancel {' '.join(jobs)}), or use another OUT"
            if queued
            else f", and squeue does not say whether they still do; if not, remove {path}"
        )
    )


def _refuse_foreign(out: Path) -> None:
    names = sorted(item.name for item in out.iterdir())
    if {MANIFEST, _CLAIM} & set(names) or any(is_work_folder(name) for name in names):
        return
    foreign = [name for name in names if name != LOCK and not is_temporary(name)]
    if foreign:
        raise UserError(
            f"OUT={printable(out)} holds files ({named(foreign)}) and no {MANIFEST} that says what "
            "they are; choose an empty or new OUT, or delete them if they are yours to write again"
        )


def existing_manifest(out: Path) -> Manifest | None:
    """OUT's manifest, of any version, if it has one. Raises DataError where it is damaged."""
    return read_manifest(out, FIRST_VERSION) if (out / MANIFEST).exists() else None


def existing_dataset(out: Path) -> str | None:
    """The dataset name that OUT was begun with, if it was."""
    if manifest := existing_manifest(out):
        return manifest.dataset
    for folder in sorted(out.iterdir()) if out.is_dir() else []:
        if is_work_folder(folder.name):
            plan = WorkFolder(out, folder.name.removeprefix(".work-")).plan()
            if plan:
                return plan["dataset"]
    return None


@dataclass(frozen=True)
class SplitState:
    """What is left to do for a split."""

    finished: SplitManifest | None
    """Its manifest entry, if it was once finished."""
    todo: list[int]
    """Shards to write."""
    rebuild_side_files: bool
    repaired: list[str]
    """Indexes that were written again."""
    keep: list[int] = field(default_factory=list[int])
    """Shards that are whole, and whose records are to be read back for the side files."""


def examine(plan: SplitPlan, manifest: Manifest | None, broken: Collection[int] = ()) -> SplitState:
    """Compare a plan with what stands in its OUT, and repair indexes.

    ``broken``: shards that are known to be damaged, whatever their size.
    Raises UserError where OUT holds the split from another source or with other settings.
    """
    out, split, work = plan.out, plan.split, WorkFolder(plan.out, plan.split)
    every = list(range(plan.shards))
    if manifest is None or split not in manifest.splits:
        begun = work.plan()
        if begun is None:
            return SplitState(None, every, True, [])
        _same_settings(plan, begun["options"], work.listing)
        return SplitState(None, [k for k in every if work.load(k) is None], True, [])
    finished = manifest.splits[split]
    whole = side_files_whole(out, finished)
    _same_settings(
        plan,
        finished.options,
        lambda: source_sizes(out, plan.dataset, split, finished) if whole else {},
    )
    work.remove()  # left by a kill after the manifest was written, or during a repair
    if not whole:
        sound = scan(partial(is_whole, out), finished.shards)
        todo = [k for k in every if not sound[k]]
        return SplitState(finished, todo, True, [], [k for k in every if sound[k]])
    if not finished.has_index_hashes:
        finished = with_index_hashes(out, manifest, split)
    damaged = sorted({*damaged_shards(out, finished), *broken})
    return SplitState(finished, damaged, False, repair_indexes(out, manifest, split, damaged))


def _same_settings(
    plan: SplitPlan,
    before: Mapping[str, Any],
    listing_before: Callable[[], Mapping[str, int | None]],
) -> None:
    now = plan.options
    where = f"OUT={printable(plan.out)} holds {plan.split}"
    if now["source_sha256"] != before["source_sha256"]:
        changed = _changes(listing_before(), plan.listing.sizes())
        raise UserError(
            f"{where} of another source: {changed}; use the same SOURCE or another OUT, "
            "or delete this one"
        )
    different = [name for name in _SETTINGS if now[name] != before.get(name)]
    if different:
        said = ", ".join(
            _SETTINGS[n]
            if n.endswith("sha256")
            else f"{_SETTINGS[n]} {_shown(before.get(n))}, now {_shown(now[n])}"
            for n in different
        )
        raise UserError(f"{where} with other settings: {said}; use the same, or another OUT")


def _shown(value: object) -> str:
    return "not given" if value is None else str(value)


def _changes(before: Mapping[str, int | None], now: Mapping[str, int]) -> str:
    kinds = {
        "added": sorted(now.keys() - before.keys()) if before else [],
        "removed": sorted(before.keys() - now.keys()),
        "of another size": sorted(n for n in now if before.get(n) not in (None, now[n])),
    }
    found = [f"{plural(len(v), 'file')} {kind} ({named(v)})" for kind, v in kinds.items() if v]
    return ", ".join(found) or "its files have other names or sizes"
