"""Ways in which a shard folder of the ``pets`` fixture gets damaged."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.shards import MANIFEST, sealed

TAR = "pets-train-0001.tar"
OTHER_TAR = "pets-train-0003.tar"
INDEX = "pets-validation-0001.idx"
ROWS = "pets-train.samples.npy"
NAMES = "pets-validation.names.bin"


@dataclass(frozen=True)
class Damage:
    """What is done to a folder, which file that is, and what must be said of it."""

    file: str
    act: Callable[[Path], object]
    said: str
    """In one of the problems' ``found``."""
    sample: Callable[[Path], str] | None = None
    """The key of the sample that must be named, from the folder before the damage."""


def first_key(tar: str) -> Callable[[Path], str]:
    """The key of a tar's first sample."""

    def key(out: Path) -> str:
        with tarfile.open(out / tar) as opened:
            return opened.getnames()[0].removesuffix(".jpg")

    return key


def patch(path: Path, position: int, content: bytes) -> None:
    """Overwrite bytes of a file."""
    with path.open("r+b") as file:
        file.seek(position)
        file.write(content)


def member(out: Path, tar: str, suffix: str) -> tarfile.TarInfo:
    """The first member of a tar with that suffix."""
    with tarfile.open(out / tar) as opened:
        return next(m for m in opened if m.name.endswith(suffix))


def flip(tar: str, share: float) -> Callable[[Path], object]:
    """Flip the bits of one byte of the first image, at that share of its bytes."""

    def act(out: Path) -> None:
        image = member(out, tar, ".jpg")
        position = image.offset_data + int(share * image.size)
        byte = (out / tar).read_bytes()[position]
        patch(out / tar, position, bytes([byte ^ 255]))

    return act


def relabel(out: Path) -> None:
    """Another label, of the same length, for the first sample."""
    cls = member(out, TAR, ".cls")
    label = int((out / TAR).read_bytes()[cls.offset_data : cls.offset_data + 1])
    patch(out / TAR, cls.offset_data, b"%d" % ((label + 1) % 3))


def cut(name: str) -> Callable[[Path], object]:
    def act(out: Path) -> None:
        os.truncate(out / name, (out / name).stat().st_size // 2)

    return act


def remove(name: str) -> Callable[[Path], object]:
    return lambda out: (out / name).unlink()


def swap(out: Path) -> None:
    shutil.copyfile(out / OTHER_TAR, out / TAR)


def wrong_offset(out: Path) -> None:
    """The second sample's image begins 512 bytes later."""
    lines = (out / INDEX).read_text().splitlines(keepends=True)
    words = lines[2].split(" ")
    words[1] = str(int(words[1]) + 512)
    (out / INDEX).write_text("".join([*lines[:2], " ".join(words), *lines[3:]]))


def wrong_width(out: Path) -> None:
    """In the row of the first sample of the second train shard."""
    rows = np.load(out / ROWS, mmap_mode="r+")
    first = np.flatnonzero(rows["shard"] == 1)[0]
    rows["width"][first] += 1
    rows.flush()


def wrong_key(out: Path) -> None:
    patch(out / NAMES, 0, b"x")


def edited(name: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    """Change a JSON file's contents in place; a manifest is sealed again."""

    def act(out: Path) -> None:
        content = json.loads((out / name).read_text())
        change(content)
        content = sealed(content) if name == MANIFEST else content
        (out / name).write_text(json.dumps(content, indent=1) + "\n")

    return act


def miscount(info: Any) -> None:
    info["splits"]["train"]["shard_lengths"][2] += 1


REPAIRABLE = {
    "image unreadable": Damage(TAR, flip(TAR, 0), "cannot be decoded", first_key(TAR)),
    "byte in an image": Damage(TAR, flip(TAR, 0.9), "has sha256"),
    "tar cut": Damage(TAR, cut(TAR), "bytes"),
    "tar missing": Damage(TAR, remove(TAR), "is missing"),
    "tar of other samples": Damage(TAR, swap, "does not belong here", first_key(OTHER_TAR)),
    "label": Damage(TAR, relabel, "label", first_key(TAR)),
    "index offset": Damage(INDEX, wrong_offset, "line 3 is: jpg"),
    "index cut": Damage(INDEX, cut(INDEX), "line"),
    "index missing": Damage(INDEX, remove(INDEX), "is missing"),
    "row": Damage(ROWS, wrong_width, "says width", first_key(TAR)),
    "rows cut": Damage(ROWS, cut(ROWS), "bytes"),
    "rows missing": Damage(ROWS, remove(ROWS), "is missing"),
    "key": Damage(NAMES, wrong_key, "says the key xnt_7", lambda out: "ant_7"),
    "names missing": Damage(NAMES, remove(NAMES), "is missing"),
    "_info.json count": Damage(
        "_info.json", edited("_info.json", miscount), "splits.train.shard_lengths[2] is 5"
    ),
    "_info.json cut": Damage("_info.json", cut("_info.json"), "is no JSON"),
    "sizes.json missing": Damage("sizes.json", remove("sizes.json"), "is missing"),
    "left by a writer": Damage(
        ".pets-train-0003.tar.1-ab.tmp",
        lambda out: (out / ".pets-train-0003.tar.1-ab.tmp").touch(),
        "was left by a killed writer",
    ),
}


def reorder(manifest: Any) -> None:
    manifest["classes"] = manifest["classes"][::-1]


def recount(manifest: Any) -> None:
    manifest["splits"]["validation"]["class_counts"] = [4, 2, 3]


def more_samples(manifest: Any) -> None:
    manifest["splits"]["train"]["shards"][2]["samples"] += 1


def other_index(manifest: Any) -> None:
    manifest["splits"]["train"]["shards"][2]["index_sha256"] = "0" * 64


LASTING = {
    "foreign tar": Damage(
        "pets-train-9999.tar",
        lambda out: shutil.copyfile(out / TAR, out / "pets-train-9999.tar"),
        "is not in manifest.json",
    ),
    "foreign index": Damage(
        "pets-test-0000.idx",
        lambda out: (out / "pets-test-0000.idx").touch(),
        "is not in manifest.json",
    ),
    "class order": Damage("manifest.json", edited("manifest.json", reorder), "classes do not"),
    "class counts": Damage("manifest.json", edited("manifest.json", recount), "says 4 of ant"),
    "sample count": Damage(
        "manifest.json", edited("manifest.json", more_samples), "of pets-train-0002.tar"
    ),
    "index hash": Damage(
        "manifest.json", edited("manifest.json", other_index), "000000 of pets-train-0002.idx"
    ),
}
