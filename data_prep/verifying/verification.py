"""Reads a shard folder as a stranger would, and tells what is not as its manifest says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.labels import MISPLACED
from data_prep.shard_plan import label_digits
from data_prep.sharding import Watcher
from data_prep.team import run_forked
from data_prep.verifying.findings import WRITE_ANEW, Problem, ShardFacts, condensed
from data_prep.verifying.folder_check import (
    description_problems,
    folder_problems,
    manifest_problems,
)
from data_prep.verifying.shard_check import check_shard
from data_prep.verifying.shard_samples import Decode, Rules
from data_prep.verifying.side_check import SideFiles, open_side_files
from data_prep.verifying.tar_readers import import_webdataset
from data_prep.wording import plural
from data_prep.writing.image_check import ImageCheck
from pipeline.shards import MANIFEST, Manifest

DECODED_SAMPLES = 1000
"""Of each split, with ``decode="sample"``."""
_SAMPLING_KEY = 0

Known = Mapping[tuple[str, int], ShardFacts]
"""Split and number of a shard -> what was read in it."""


@dataclass(frozen=True)
class Findings:
    """What a verification found."""

    out: Path
    manifest: Manifest
    problems: list[Problem]
    """What is about whole files first; then by file."""
    notes: list[str]
    shards: dict[tuple[str, int], ShardFacts] = field(repr=False)
    side_files_broken: set[str] = field(default_factory=set[str])
    """Splits."""

    @property
    def decoded(self) -> int:
        """Images."""
        return sum(facts.decoded for facts in self.shards.values())

    @property
    def sound(self) -> Known:
        """Shards that nothing is wrong with, and about which nothing was doubtful."""
        return {
            key: facts
            for key, facts in self.shards.items()
            if not facts.problems and key[0] not in self.side_files_broken
        }


def verify(
    out: Path,
    manifest: Manifest,
    decode: Decode,
    workers: int,
    watcher: Watcher,
    known: Known | None = None,
) -> Findings:
    """Check every file of OUT; writes nothing. ``known``: shards that need not be read again."""
    known = known or {}
    problems = manifest_problems(manifest)
    sides = {split: open_side_files(out, manifest, split) for split in manifest.splits}
    check = _Check(out, manifest, decode, not problems, sides, known)
    facts = dict(known) | check.run(workers, watcher)
    notes = _notes(manifest, facts)
    for split, side in sides.items():
        of_split = [facts[split, k] for k in range(len(side.entries))]
        problems += [*side.problems, *_counts(manifest, split, of_split, side)]
        problems += [problem for shard in of_split for problem in shard.problems]
        problems += _repeated_keys(manifest, split, of_split)
    problems += _unhashed(manifest)
    problems += description_problems(out, manifest, _true_counts(sides, facts))
    in_folder, others = folder_problems(out, manifest)
    return Findings(
        out,
        manifest,
        sorted([*problems, *in_folder], key=lambda p: (p.sample is not None, p.file)),
        [*notes, *others],
        facts,
        {split for split, side in sides.items() if not _is_sound(side)},
    )


def _is_sound(side: SideFiles) -> bool:
    return side.rows_are_whole and side.names_are_whole


@dataclass(frozen=True)
class _Check:
    """The reading of all shards that are not known."""

    out: Path
    manifest: Manifest
    decode: Decode
    names_tell_classes: bool
    sides: Mapping[str, SideFiles]
    known: Known

    def run(self, workers: int, watcher: Watcher) -> dict[tuple[str, int], ShardFacts]:
        tasks = [
            (split, k)
            for split, side in self.sides.items()
            for k in range(len(side.entries))
            if (split, k) not in self.known
        ]
        rules = {split: self._rules(split) for split in self.sides}
        check = ImageCheck("full")
        found: dict[tuple[str, int], ShardFacts] = {}

        def read(number: int, send: Callable[[ShardFacts], None]) -> None:
            split, k = tasks[number]
            send(check_shard(self.out, self.sides[split].part(k), rules[split], check))

        def receive(facts: ShardFacts) -> None:
            found[facts.split, facts.index] = facts
            entry = self.sides[facts.split].entries[facts.index]
            watcher.advance(entry.samples, entry.bytes)

        def begin() -> None:
            watcher.begin(sum(self.sides[s].entries[k].samples for s, k in tasks), 0)

        if tasks:
            import_webdataset()  # once, before the forks
        run_forked(read, len(tasks), workers, receive, begin)
        return found

    def _rules(self, split: str) -> Rules:
        about = self.manifest.splits[split]
        chosen = decoded_samples(int(self.sides[split].bounds[-1]))
        return Rules(
            classes=self.manifest.classes,
            label_digits=label_digits(self.manifest.classes),
            decode=self.decode,
            decoded_samples=frozenset(chosen.tolist()),
            names_tell_classes=self.names_tell_classes,
            accepts_misplaced=any(MISPLACED in text for text in about.warnings),
        )


def decoded_samples(samples: int) -> NDArray[np.int64]:
    """At most DECODED_SAMPLES ids below ``samples``, at random but always the same."""
    words = np.random.Philox(key=_SAMPLING_KEY).random_raw(samples)
    return np.argsort(words, kind="stable")[:DECODED_SAMPLES]


def _true_counts(sides: Mapping[str, SideFiles], facts: Known) -> dict[str, list[int]]:
    """Samples of each shard: as counted in whole tars, else by whole rows, else as listed."""
    counts: dict[str, list[int]] = {}
    for split, side in sides.items():
        listed = np.diff(side.bounds).tolist()
        counts[split] = [
            len(facts[split, k].keys) if facts[split, k].is_whole else count
            for k, count in enumerate(listed)
        ]
    return counts


def _counts(
    manifest: Manifest, split: str, shards: list[ShardFacts], side: SideFiles
) -> list[Problem]:
    """The manifest's counts, of samples and per class, against what whole files hold."""
    about = manifest.splits[split]
    wrong = [
        _of_manifest(
            f"splits.{split} says {plural(entry.samples, 'sample')} of {entry.name}",
            f"it holds {len(facts.keys)}",
        )
        for entry, facts in zip(about.shards, shards, strict=True)
        if facts.is_whole and entry.samples != len(facts.keys)
    ]
    counts = _class_counts(len(manifest.classes), shards, side)
    if counts is None or len(about.class_counts) != len(counts):
        return wrong  # unknown, or told by manifest_problems
    classes = zip(manifest.classes, about.class_counts, counts.tolist(), strict=True)
    wrong_classes = [
        _of_manifest(f"splits.{split}.class_counts says {says} of {name}", f"the tars hold {n}")
        for name, says, n in classes
        if says != n
    ]
    return [*wrong, *condensed(wrong_classes, len(counts))]


def _class_counts(
    classes: int, shards: list[ShardFacts], side: SideFiles
) -> NDArray[np.int64] | None:
    """(classes,) samples per label: by the tars if all can be read, else by whole rows."""
    if all(facts.is_whole and facts.class_counts.sum() == len(facts.keys) for facts in shards):
        return sum((facts.class_counts for facts in shards), np.zeros(classes, np.int64))
    if side.rows is None or not side.rows_are_whole:
        return None
    labels = side.rows["label"].astype(np.int64)
    return np.bincount(labels[labels < classes], minlength=classes)


def _unhashed(manifest: Manifest) -> list[Problem]:
    """Format version 1 kept no hashes of indexes."""
    old = [split for split, about in manifest.splits.items() if not about.has_index_hashes]
    if not old:
        return []
    found = f"has no sha256 of the indexes of {' and '.join(old)}: format_version=1 had none"
    return [Problem(MANIFEST, found, "a repair adds them")]


def _of_manifest(found: str, rule: str) -> Problem:
    return Problem(MANIFEST, found, f"{rule}; {WRITE_ANEW}", can_repair=False)


def _repeated_keys(manifest: Manifest, split: str, shards: list[ShardFacts]) -> list[Problem]:
    """Keys that stand in several places of whole tars; of others, their names tell."""
    whole = [facts for facts in shards if facts.is_whole]
    if not whole:
        return []
    keys = np.concatenate([facts.keys for facts in whole])
    places = np.repeat([facts.index for facts in whole], [len(facts.keys) for facts in whole])
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order[1:]] == keys[order[:-1]]) + 1
    entries = manifest.splits[split].shards
    return [
        Problem(
            entries[places[order[i]]].name,
            f"is in {entries[places[order[i - 1]]].name} too",
            f"every key stands once in a split; {WRITE_ANEW}",
            bytes(keys[order[i]]).decode(),
            can_repair=False,
        )
        for i in again.tolist()
    ]


def _notes(manifest: Manifest, facts: Known) -> list[str]:
    notes: list[str] = []
    for split in manifest.splits:
        misplaced = sum(shard.misplaced for (name, _), shard in facts.items() if name == split)
        if misplaced:
            notes.append(
                f"{split}: {plural(misplaced, 'sample')} with a key of another class than the "
                "label, as the manifest's warnings say"
            )
    return notes
