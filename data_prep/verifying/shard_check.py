"""Holds one shard against what manifest, sample rows, names and index say of it."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from data_prep import imagenet1k
from data_prep.verifying.findings import (
    HASH_SHOWN,
    WRITE_ANEW,
    Problem,
    ShardFacts,
    changed,
    condensed,
    unreadable,
)
from data_prep.verifying.shard_samples import Rules, Sample, ShardContents, read_shard
from data_prep.verifying.side_check import Expected
from data_prep.writing.image_check import ImageCheck
from data_prep.writing.tar_writer import index_text
from pipeline.shards import MANIFEST, SAMPLE_DTYPE, index_name

_WNID_PREFIX = re.compile(r"(n\d{8})_")
_LINE_SHOWN = 120


def check_shard(out: Path, expected: Expected, rules: Rules, check: ImageCheck) -> ShardFacts:
    """Everything that can be told of a shard and its index.

    Where tar and side files differ, the one that has the manifest's hash is right.
    """
    shard = read_shard(out, expected, rules, check)
    problems, misplaced = list(shard.problems), 0
    if shard.is_whole:
        problems += [*_against_names(shard, expected), *_against_rows(shard, expected)]
        contradictions, misplaced = _against_classes(shard, expected, rules)
        problems += contradictions
    elif expected.names_are_whole and shard.samples:
        problems += _by_key(shard, expected)
    problems += _against_index(shard, expected, rules)
    labels = [sample.label for sample in shard.samples if sample.label is not None]
    return ShardFacts(
        split=expected.split,
        index=expected.index,
        is_whole=shard.is_whole,
        keys=np.array([key.encode() for key in shard.keys], np.bytes_),
        class_counts=np.bincount(np.array(labels, np.int64), minlength=len(rules.classes)),
        decoded=shard.decoded,
        misplaced=misplaced,
        problems=problems,
    )


def _contradiction(
    shard: ShardContents, side: tuple[str, bool], key: str, says: str, holds: str
) -> Problem:
    """``side``: a side file's name, and whether it is whole; the tar is."""
    name, is_whole = side
    if is_whole:
        return shard.fault(f"has {holds}", f"{name} says {says}", key)
    return Problem(name, f"says {says}", f"{shard.path.name} has {holds}", key)


def _against_names(shard: ShardContents, expected: Expected) -> list[Problem]:
    if expected.names is None:
        return []
    side = (expected.names_file, expected.names_are_whole)
    problems = [
        _contradiction(shard, side, holds or says or "", _key(says), _key(holds))
        for says, holds in zip_longest(expected.keys, shard.keys)
        if says != holds
    ]
    return condensed(problems, len(shard.samples))


def _key(key: str | None) -> str:
    return "no such sample" if key is None else f"the key {key}"


def _against_rows(shard: ShardContents, expected: Expected) -> list[Problem]:
    places = shard.places
    if expected.rows is None or places is None or places.keys != shard.keys:
        return []
    side = (expected.rows_file, expected.rows_are_whole)
    # Damaged names have offsets of their own.
    starts = expected.name_offsets if expected.names_are_whole else []
    problems: list[Problem] = []
    for sample, row, offset, start in zip_longest(
        shard.samples, expected.rows.tolist(), places.offsets, starts
    ):
        if sample is None or row is None:
            break  # of another number of samples the names tell
        places_held = {"shard": expected.index, "offset": offset, "name_offset": start}
        if wrong := _differing(row, _fields(sample) | places_held):
            problems.append(_contradiction(shard, side, sample.key, *wrong))
    return condensed(problems, len(shard.samples))


def _against_classes(
    shard: ShardContents, expected: Expected, rules: Rules
) -> tuple[list[Problem], int]:
    """Labels against the classes that keys and original names tell; accepted contradictions."""
    if not rules.names_tell_classes:
        return [], 0
    originals = dict(expected.names or ()) if expected.names_are_whole else {}
    problems: list[Problem] = []
    misplaced = 0
    for sample in shard.samples:
        if sample.label is None:
            continue
        label = rules.classes[sample.label]
        prefix, original = _WNID_PREFIX.match(sample.key), originals.get(sample.key)
        found = f"has the label of {label}"
        if original is not None and not original.startswith(f"{label}/"):
            problems.append(shard.fault(found, f"its original name is {original}", sample.key))
        elif prefix and imagenet1k.is_wnid(label) and prefix[1] != label:
            if rules.accepts_misplaced:
                misplaced += 1
            else:
                problems.append(shard.fault(found, f"its key says {prefix[1]}", sample.key))
    return condensed(problems, len(shard.samples)), misplaced


def _by_key(shard: ShardContents, expected: Expected) -> list[Problem]:
    """What a tar that is not the manifest's holds, against whole names and rows."""
    file, counts, known = expected.names_file, Counter(shard.keys), set(expected.keys)
    absent = [k for k in expected.keys if k not in counts]
    strange = [k for k in counts if k not in known]
    twice = [k for k, count in counts.items() if count > 1]
    problems = [
        *condensed([shard.fault("is missing", f"{file} lists it", k) for k in absent], len(known)),
        *condensed(
            [shard.fault("does not belong here", f"{file} lists others", k) for k in strange],
            len(counts),
        ),
        *condensed([shard.fault("is there twice", "a key is there once", k) for k in twice], 0),
    ]
    if not problems and shard.keys != expected.keys:
        problems.append(
            shard.fault("has its samples in another order", f"{file} has the right one")
        )
    if expected.rows is None or not expected.rows_are_whole:
        return problems
    rows = dict(zip(expected.keys, expected.rows.tolist(), strict=False))
    wrong = [
        _contradiction(shard, (expected.rows_file, True), sample.key, *pair)
        for sample in shard.samples
        if sample.key in rows and (pair := _differing(rows[sample.key], _fields(sample)))
    ]
    return [*problems, *condensed(wrong, len(shard.samples))]


def _fields(sample: Sample) -> dict[str, int | None]:
    """What a row says of a sample, as the tar has it."""
    return {
        "bytes": sample.bytes,
        "width": sample.width,
        "height": sample.height,
        "label": sample.label,
    }


def _differing(row: Sequence[int], holds: Mapping[str, int | None]) -> tuple[str, str] | None:
    """What a row says, and what the tar has, in the fields in which they differ."""
    says = dict(zip(SAMPLE_DTYPE.names or (), row, strict=True))
    wrong = [name for name, value in holds.items() if value is not None and says[name] != value]
    if not wrong:
        return None
    return (
        ", ".join(f"{name} {says[name]}" for name in wrong),
        ", ".join(f"{name} {holds[name]}" for name in wrong),
    )


def _against_index(shard: ShardContents, expected: Expected, rules: Rules) -> list[Problem]:
    path = shard.path.with_name(index_name(shard.path.name))
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return [Problem(path.name, "is missing", "every shard has its DALI index")]
    except OSError as error:
        return [unreadable(path, error)]
    text, source = _index_text(shard, expected, rules.label_digits)
    if text is None or found == text.encode():
        return _against_hash(path, found, expected, is_right=text is not None)
    lines = zip_longest(
        found.decode("ascii", "backslashreplace").split("\n"), text.split("\n"), fillvalue=""
    )
    number, line, right = next(
        ((n, line, right) for n, (line, right) in enumerate(lines, 1) if line != right),
        (1, "of other bytes", "plain ASCII"),
    )
    line, right = line[:_LINE_SHOWN] or "empty", right[:_LINE_SHOWN] or "empty"
    return [Problem(path.name, f"line {number} is: {line}", f"by {source} it is: {right}")]


def _against_hash(path: Path, found: bytes, expected: Expected, is_right: bool) -> list[Problem]:
    """An index that nothing else contradicts; is_right: it is what the shard's index must be."""
    digest, said = hashlib.sha256(found).hexdigest(), expected.entry.index_sha256
    if said in (None, digest):  # None: of format version 1, which is told of the whole split
        return []
    if is_right:
        told = f"says sha256 {said[:HASH_SHOWN]} of {path.name}"
        rule = f"the right one has {digest[:HASH_SHOWN]}; {WRITE_ANEW}"
        return [Problem(MANIFEST, told, rule, can_repair=False)]
    return [changed(path, digest, said)]


def _index_text(shard: ShardContents, expected: Expected, digits: int) -> tuple[str | None, str]:
    """The index that belongs to a shard, and the file that tells it."""
    places, rows = shard.places, expected.rows
    if shard.is_whole and places is not None and not places.faults:
        text = index_text(places.keys, places.offsets, places.sizes, digits)
        return text, shard.path.name
    if rows is None or not (expected.rows_are_whole and expected.names_are_whole):
        return None, ""
    offsets, sizes = rows["offset"].tolist(), rows["bytes"].tolist()
    return index_text(expected.keys, offsets, sizes, digits), expected.rows_file
