"""Reads one shard sample by sample, and judges each by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data_prep.verifying.findings import WRITE_ANEW, Problem, condensed, file_problem, unreadable
from data_prep.verifying.side_check import Expected
from data_prep.verifying.tar_readers import Places, Unreadable, each_sample, image_places
from data_prep.writing.image_check import ImageCheck, Refusal, header

Decode = Literal["sample", "all", "none"]

_PARTS = {"jpg", "cls"}
_LABEL_SHOWN = 20


@dataclass(frozen=True)
class Rules:
    """What holds for every sample of a split."""

    classes: Sequence[str]
    label_digits: int
    decode: Decode
    decoded_samples: frozenset[int]
    """Of the split, with ``decode="sample"``; of a tar that is not whole, all are decoded."""
    names_tell_classes: bool
    """Whether the class list is sound, so that labels can be held against names."""
    accepts_misplaced: bool
    """Whether keys may name another class than the label."""


@dataclass(frozen=True)
class Sample:
    """What a tar holds under one key; None: cannot be told."""

    key: str
    bytes: int | None
    """Of the image."""
    label: int | None
    width: int | None
    height: int | None


@dataclass
class ShardContents:
    """What was read of a tar."""

    path: Path
    is_whole: bool = False
    """Whether size and hash are those of the manifest."""
    samples: list[Sample] = field(default_factory=list[Sample])
    places: Places | None = None
    decoded: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])

    @property
    def keys(self) -> list[str]:
        return [sample.key for sample in self.samples]

    def fault(self, found: str, rule: str, sample: str | None = None) -> Problem:
        """Something wrong in the tar; if it is the manifest's, it would be written so again."""
        rule = f"{rule}; {WRITE_ANEW}" if self.is_whole else rule
        return Problem(self.path.name, found, rule, sample, can_repair=not self.is_whole)


def read_shard(out: Path, expected: Expected, rules: Rules, check: ImageCheck) -> ShardContents:
    """Hash the tar of a shard, then read all that can be read of it."""
    entry = expected.entry
    shard = ShardContents(out / entry.name)
    changed = file_problem(shard.path, entry.bytes, entry.sha256)
    shard.is_whole = changed is None
    shard.problems += [changed] if changed else []
    if not shard.path.is_file():
        return shard
    faults: list[Problem] = []
    try:
        with shard.path.open("rb") as file:
            for key, parts in each_sample(file, shard.path.name):
                faults += _take(shard, key, parts, expected, rules, check)
            shard.places = image_places(file)
    except Unreadable as error:
        shard.problems.append(shard.fault(f"is cut or damaged ({error})", "a reader stops there"))
    except OSError as error:
        shard.problems.append(unreadable(shard.path, error))
    odd = shard.places.faults if shard.places else []
    faults += condensed([shard.fault(f.found, f.rule, f.name) for f in odd], len(odd))
    shard.problems += condensed(faults, len(shard.samples))
    return shard


def _take(
    shard: ShardContents,
    key: str,
    parts: Mapping[str, bytes],
    expected: Expected,
    rules: Rules,
    check: ImageCheck,
) -> list[Problem]:
    """Add the next sample; returns what is wrong with it."""
    faults: list[Problem] = []
    if parts.keys() != _PARTS:
        held = ", ".join(sorted(parts)) or "nothing"
        faults.append(shard.fault(f"holds {held}", "a sample is one jpg and one cls", key))
    text, image = parts.get("cls"), parts.get("jpg")
    label = None if text is None else _label(text, rules)
    if text is not None and label is None:
        shown = ascii(text[:_LABEL_SHOWN])[1:]
        digits, last = rules.label_digits, len(rules.classes) - 1
        rule = f"labels are written with {digits} digits and are at most {last}"
        faults.append(shard.fault(f"has the label {shown}", rule, key))
    width = height = None
    if image is not None:
        position = expected.first_sample + len(shard.samples)
        is_decoded = _is_decoded(position, shard.is_whole, rules)
        shard.decoded += is_decoded
        verdict = check.judge(image) if is_decoded else header(image)
        if isinstance(verdict, Refusal):
            found = f"cannot be decoded ({verdict.reason})"
            faults.append(shard.fault(found, "every image can be", key))
        else:
            width, height = verdict.width, verdict.height
    size = None if image is None else len(image)
    shard.samples.append(Sample(key, size, label, width, height))
    return faults


def _label(text: bytes, rules: Rules) -> int | None:
    if len(text) != rules.label_digits or not text.isdigit():
        return None
    return int(text) if int(text) < len(rules.classes) else None


def _is_decoded(sample: int, is_whole: bool, rules: Rules) -> bool:
    """``sample``: its position in the split."""
    if rules.decode == "none":
        return False
    return rules.decode == "all" or not is_whole or sample in rules.decoded_samples
