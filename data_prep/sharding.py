"""The whole job: list, plan, write what is missing, finish. No terminal and no arguments."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep import imagenet1k
from data_prep.budget import DEFAULT_MAX_BAD, MaxBad
from data_prep.completeness import imagenet_differences
from data_prep.job import Job, Outcome, write_shards
from data_prep.labels import label_scheme, label_warnings
from data_prep.shard_plan import Check, Reencode, SplitPlan, chosen_shards
from data_prep.sources import SPLITS, VALIDATION_NAMES, Source
from data_prep.sources.detect import open_source
from data_prep.wording import plural, printable
from data_prep.writing.finish import tool_versions
from data_prep.writing.out_folder import examine, existing_dataset, existing_manifest, opened
from pipeline.errors import DataError, UserError
from pipeline.shards import Manifest
from pipeline.world import cpus_at_hand

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Request:
    """What the command line asks for; None: not said."""

    source: Path
    out: Path | None = None
    layout: str | None = None
    split: str | None = None
    name: str | None = None
    classes: Sequence[str] | None = None
    """In label order."""
    allow_partial: bool = False
    seed: int = 0
    shards: int | Mapping[str, int] | None = None
    """Of every split, or split by split."""
    samples_per_shard: int | None = None
    max_bad: MaxBad = DEFAULT_MAX_BAD
    check: Check = "full"
    reencode: Reencode | None = None
    strict_labels: bool = False
    workers: int | None = None
    """Processes; None: as many as there are CPUs."""
    broken: Mapping[str, Collection[int]] = field(default_factory=dict[str, Collection[int]])
    """Split -> shards to write again, though they have the right size."""


class Watcher:
    """Told what happens; this one ignores it."""

    def inform(self, message: str) -> None:
        """What was found or decided."""

    def notice(self, message: str) -> None:
        """Something that should be known but stops nothing."""

    def begin(self, images: int, images_done: int) -> None:
        """Writing starts: images in all splits, and those in shards that are whole."""

    def advance(self, images: int, size: int) -> None:
        """Images and bytes checked since the last call."""


def shard_source(request: Request, watcher: Watcher) -> Outcome:
    """Bring OUT to what the request asks for.

    Raises UserError for what cannot be done, DataError for a source that is not sound.
    """
    source = listed(request, watcher)
    out = out_folder(request, source)
    with opened(out):
        job = prepare(request, source, out, watcher)
        todo = job.todo
        left = sum(shard.images for shard in todo)

        def begin() -> None:
            watcher.begin(job.images, job.images - left)
            tool_versions()  # slow to find out, while this process has nothing else to do

        workers = request.workers or cpus_at_hand()
        write_shards(todo, workers, request.check, begin, watcher.advance)
        return job.finish()


def listed(request: Request, watcher: Watcher) -> Source:
    """The source, with what should be said of it."""
    source = open_source(request.source, request.layout, request.split, request.classes)
    hidden = sum(listing.hidden_files for listing in source.listings)
    watcher.inform(f"SOURCE={printable(source.path)} has the layout {source.layout}")
    for message in (
        *source.notices,
        *(text for listing in source.listings for text in listing.notices),
        *([f"ignored {plural(hidden, 'hidden file')}"] if hidden else []),
    ):
        watcher.notice(message)
    return source


def out_folder(request: Request, source: Source) -> Path:
    """Where the shards go. Raises UserError where that is inside the source, or around it."""
    out = request.out or Path("shards") / (request.name or suggested_name(source))
    inner, outer = source.path.resolve(), out.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise UserError(
            f"OUT={printable(out)} and SOURCE={printable(source.path)} lie inside each other; "
            "choose an OUT outside SOURCE"
        )
    return out


def prepare(request: Request, source: Source, out: Path, watcher: Watcher) -> Job:
    """What is left to do in OUT, which is held; its work folders are set up."""
    manifest = existing_manifest(out)
    plans = _plans(request, source, out, manifest)
    asked = request.classes is not None
    about = [
        *imagenet_differences(source, request.allow_partial),
        *label_scheme(source, plans[0].classes, asked),
    ]
    warnings = {
        plan.split: label_warnings(plan.listing, plan.classes, request.strict_labels, asked)
        for plan in plans
    }
    for message in (*about, *(text for texts in warnings.values() for text in texts)):
        watcher.notice(message)
    warnings = {split: [*about, *texts] for split, texts in warnings.items()}
    states = [examine(plan, manifest, request.broken.get(plan.split, ())) for plan in plans]
    job = Job(out, plans, states, manifest, warnings, request.max_bad, request.check)
    for plan in plans:
        job.judge(plan, plan.listing.reasons)
    job.begin()
    return job


def _plans(
    request: Request, source: Source, out: Path, manifest: Manifest | None
) -> list[SplitPlan]:
    dataset = request.name or existing_dataset(out) or suggested_name(source)
    if manifest and dataset != manifest.dataset:
        raise UserError(
            f"--name {dataset}: OUT={printable(out)} holds the dataset {manifest.dataset}; "
            "leave --name out or use another OUT"
        )
    if not _NAME.fullmatch(dataset):
        raise UserError(f"--name {dataset!r} may hold only letters, digits, _ and -; change it")
    classes = _class_list(request, source, out, manifest)
    plans: list[SplitPlan] = []
    for listing in source.listings:
        split, images = listing.split, len(listing.entries)
        if not images:
            raise DataError(f"{split} of SOURCE={printable(source.path)} holds no images at all")
        asked = request.shards
        count = asked.get(split) if isinstance(asked, Mapping) else asked
        shards = chosen_shards(images, split, count, request.samples_per_shard)
        plans.append(
            SplitPlan(
                out,
                dataset,
                classes,
                source,
                listing,
                request.seed,
                shards,
                request.check,
                request.reencode,
            )
        )
    return plans


def suggested_name(source: Source) -> str:
    """What to call the dataset: what the source says, imagenet1k, or after its folder."""
    if source.name is not None:
        return source.name
    if source.is_whole_imagenet or imagenet1k.is_subset(source.classes):
        return imagenet1k.NAME
    folder = source.path.resolve()
    if folder.name in (*SPLITS, *VALIDATION_NAMES):
        folder = folder.parent
    return re.sub(r"[^A-Za-z0-9_-]+", "_", folder.name).strip("_-") or "dataset"


def _class_list(
    request: Request, source: Source, out: Path, manifest: Manifest | None
) -> list[str]:
    """The classes that labels count in: OUT's, where it holds another split already."""
    classes = source.classes if request.classes is None else list(request.classes)
    splits = {listing.split for listing in source.listings}
    others = set(manifest.splits) - splits if manifest else set[str]()
    if manifest is None or not others or classes == manifest.classes:
        return classes
    if request.classes is None and set(classes) <= set(manifest.classes) and "train" in others:
        return manifest.classes
    raise DataError(
        f"OUT={printable(out)} holds {' and '.join(sorted(others))} with labels in "
        f"{len(manifest.classes)} classes, SOURCE has {len(classes)} other ones; "
        "shard train first, or both splits into another OUT"
    )
