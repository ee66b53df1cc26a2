"""The page beside the shards: what it says, that nothing breaks it, and its bounds."""

import base64
import io
import os
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.reporting.markup import MAX_ROWS, size_text
from data_prep.reporting.report import (
    REPORT,
    THUMBNAIL_PIXELS,
    THUMBNAILS,
    chosen_samples,
    thumbnail,
    write_report,
)
from pipeline.errors import DataError
from pipeline.shards import Manifest, Quarantined, read_manifest

Shard = Callable[..., Any]
Tree = Callable[..., Path]

FLAGS = ("--check", "header", "--workers", 1, "--max-bad", 9)
VOID = {"meta", "img", "br"}
IMAGENET_SAMPLES = 1_281_167


class Page(HTMLParser):
    """Reads a page; fails where its tags are not nested."""

    def __init__(self, text: str):
        super().__init__()
        self.source = text
        self.images: list[dict[str, str | None]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.figures: list[str] = []
        self.text = ""
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "figure":
            self.figures.append("")
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "figure" in self._open:
            self.figures[-1] += data
        if self._open[-1:] in (["td"], ["th"]):
            self.cells[-1] += data

    @property
    def pictures(self) -> list[Image.Image]:
        """What the page shows, decoded."""
        found: list[Image.Image] = []
        for image in self.images:
            head, _, data = str(image["src"]).partition(",")
            assert head == "data:image/jpeg;base64"
            found.append(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
            found[-1].load()
        return found


def read(out: Path, manifest: Manifest | None = None) -> Page:
    path = write_report(out, manifest or read_manifest(out))
    assert path == out / REPORT
    return Page(path.read_text(encoding="utf-8"))


def changed(manifest: Manifest, split: str, **values: Any) -> Manifest:
    splits = manifest.splits | {split: replace(manifest.splits[split], **values)}
    return replace(manifest, splits=splits)


@pytest.fixture
def out(pets: Path, tmp_path: Path, shard: Shard) -> Path:
    (pets / "train" / "bee" / "<b>&.jpg").write_bytes(b"")
    (pets / "train" / "bee" / "page.jpg").write_bytes(b"<script>alert(1)</script>")
    ran = shard(pets, tmp_path / "out", "--samples-per-shard", 5, "--seed", 7, *FLAGS)
    assert ran.code == 0, ran.err
    return tmp_path / "out"


def test_it_needs_no_other_file_and_no_script(out: Path) -> None:
    page = read(out)
    assert not re.search(r"http|<script|<link|<iframe|@import|url\(", page.source)
    addresses = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert len(addresses) == len(page.images)
    assert all(str(address).startswith("data:") for address in addresses)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "prefers-color-scheme: dark" in page.source


def test_it_says_what_the_manifest_says(out: Path, pets: Path) -> None:
    manifest = read_manifest(out)
    warned = changed(manifest, "train", warnings=["train has <no> images of 1 class: dog"])
    page = read(out, warned)
    rows = {name: page.cells[i + 1 : i + 3] for i, name in reversed([*enumerate(page.cells)])}
    for name, split in enumerate(manifest.splits.values()):
        assert rows["samples"][name] == str(split.samples)
        assert rows["shards"][name] == str(len(split.shards))
        assert rows["size of the shards"][name] == size_text(sum(s.bytes for s in split.shards))
        assert rows["of 3 classes, with samples"][name] == "3"
        assert rows["quarantined"][name] == str(len(split.quarantine))
        assert rows["seed"][name] == "7"
        assert rows["check"][name] == "header"
        assert rows["source path"][name] == str(pets)
        assert rows["source layout"][name] == split.source["layout"]
        assert rows["shards sha256"][name] == split.digest
    assert [rows["quarantined"], rows["samples"]] == [["2", "0"], ["21", "9"]]
    assert "<h1>pets</h1>" in page.source
    for tool, version in manifest.tools.items():
        assert f"{tool} {version}" in page.text
    assert "train has <no> images of 1 class: dog" in page.text


def test_every_class_has_its_bar(out: Path) -> None:
    page = read(out, changed(read_manifest(out), "train", class_counts=[10, 0, 5]))
    bars = re.findall(
        r'row">(\w+)</th><td class="bar">.*?width="([\d.]+)%".*?<td class="number">(\d+)',
        page.source,
    )
    assert [(name, float(width), int(n)) for name, width, n in bars] == [
        *(("ant", 100, 10), ("bee", 0, 0), ("cat", 50, 5)),
        *((name, 100, 3) for name in ("ant", "bee", "cat")),
    ]
    assert "smallest 0 · median 5 · largest 10" in page.text
    assert "every class has 3 samples" in page.text


@pytest.mark.parametrize("classes", [1000, 21_841])
def test_many_classes(out: Path, classes: int) -> None:
    names = [f"n{label:08d}" for label in range(classes)]
    counts = [1000 + label for label in range(classes)]
    counts[77], counts[500] = 3, 99_999
    manifest = replace(read_manifest(out), classes=names)
    manifest = changed(manifest, "train", class_counts=counts)
    page = read(out, changed(manifest, "validation", class_counts=[50] * classes))
    smallest = page.cells[page.cells.index("smallest classes") + 2 :][:10]
    largest = page.cells[page.cells.index("largest classes") + 2 :][:10]
    assert smallest[::2] == [names[label] for label in (77, 0, 1, 2, 3)]
    assert smallest[1::2] == ["3", "1,000", "1,001", "1,002", "1,003"]
    assert largest[::2] == [names[500], *(names[classes - k] for k in range(1, 5))]
    assert largest[1] == "99,999"
    assert f"smallest 3 · median {np.median(counts):,.10g} · largest 99,999" in page.text
    assert page.cells.count("smallest classes") == 1
    assert "every class has 50 samples" in page.text
    assert len(page.source) < 300_000


def test_what_was_left_out_is_listed_and_escaped(out: Path) -> None:
    page = read(out)
    train = read_manifest(out).splits["train"].quarantine
    assert sorted(bad.name for bad in train) == ["bee/<b>&.jpg", "bee/page.jpg"]
    for bad in train:
        assert page.cells[page.cells.index(bad.name) + 1] == bad.reason
        assert page.cells[page.cells.index(bad.reason) + 1] == "1"
    assert "bee/&lt;b&gt;&amp;.jpg" in page.source
    assert "<b>&" not in page.source


def test_a_long_quarantine_is_cut_and_counted(out: Path) -> None:
    bad = [Quarantined(f"a/{i}.jpg", "odd" if i % 3 else "empty") for i in range(MAX_ROWS + 234)]
    page = read(out, changed(read_manifest(out), "train", quarantine=bad))
    listed = {cell for cell in page.cells if re.fullmatch(r"a/\d+\.jpg", cell)}
    assert listed == {f"a/{i}.jpg" for i in range(MAX_ROWS)}
    assert "and 234 names more, see manifest.json" in page.text
    assert page.cells[page.cells.index("odd") + 1] == f"{sum(b.reason == 'odd' for b in bad):,}"
    assert page.cells.index("odd") < page.cells.index("empty"), "the commonest reason first"


def test_byte_identical_images_are_listed(out: Path) -> None:
    groups = [["ant/1.jpg", "ant/2.jpg"], ["ant/3.jpg", "bee/3.jpg", "bee/<4>.jpg"]]
    page = read(out, changed(read_manifest(out), "train", duplicates=groups))
    assert "5 images in 2 groups; 1 group with images of several classes" in page.text
    for number, group in enumerate(groups, 1):
        for name in group:
            assert page.cells[page.cells.index(name) - 1] == str(number)


def test_names_that_are_no_text(tree: Tree, tmp_path: Path, shard: Shard) -> None:
    odd = os.fsdecode(b"caf\xe9\n<p>")
    source = tree({f'train/<i>&"/{odd}.jpg': None, f"train/{odd}/1.jpg": None})
    (source / "train" / '<i>&"' / "\x1b[1m\u202e.jpg").write_bytes(b"")
    ran = shard(source, tmp_path / "out", "--shards", 1, *FLAGS)
    assert ran.code == 0, ran.err
    page = read(tmp_path / "out")
    assert len(page.pictures) == 2
    assert {'<i>&"', "caf\\udce9\\n<p>", '<i>&"/\\x1b[1m\\u202e.jpg'} <= set(page.cells)
    titles = {value for name, value in page.attributes if name == "title"}
    assert titles == {'<i>&"/caf\\udce9\\n<p>.jpg', "caf\\udce9\\n<p>/1.jpg"}
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]", page.source)


def test_every_sample_of_a_small_split_is_shown(out: Path) -> None:
    page = read(out)
    assert len(page.pictures) == len(page.figures) == 21 + 9
    for picture in page.pictures:
        assert picture.format == "JPEG"
        assert 0 < max(picture.size) <= THUMBNAIL_PIXELS
    keys = {text.split()[1] for text in page.figures}
    assert keys == {f"{c}_{i}" for c in ("ant", "bee", "cat") for i in range(10)}


def test_captions_belong_to_their_pictures(tmp_path: Path, shard: Shard) -> None:
    colours = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}
    for name, colour in colours.items():
        folder = tmp_path / "flags" / name
        folder.mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (300, 100 + i), colour).save(folder / f"{name}_{i}.jpg")
    assert shard(tmp_path / "flags", tmp_path / "out", *FLAGS).code == 0
    page = read(tmp_path / "out")
    assert len(page.figures) == THUMBNAILS < 60
    assert len(set(page.figures)) == THUMBNAILS
    for caption, picture in zip(page.figures, page.pictures, strict=True):
        class_name, key = caption.split()
        assert key.startswith(f"{class_name}_")
        assert picture.size[0] == THUMBNAIL_PIXELS
        shown = np.asarray(picture).mean(axis=(0, 1))
        assert np.abs(shown - colours[class_name]).max() < 5


@pytest.mark.parametrize("samples", [1, 47, 48, 49, IMAGENET_SAMPLES])
def test_samples_are_chosen_once_each(samples: int) -> None:
    ids = chosen_samples(samples)
    assert len(np.unique(ids)) == len(ids) == min(samples, THUMBNAILS)
    assert ids.min() >= 0 and ids.max() < samples
    assert ids.tolist() == chosen_samples(samples).tolist()
    if samples == IMAGENET_SAMPLES:
        assert np.ptp(ids) > samples / 2, "from all over the split"


def test_images_that_cannot_be_decoded(
    tree: Tree, tmp_path: Path, shard: Shard, jpeg: Callable[..., bytes]
) -> None:
    whole = jpeg(5, width=200, height=100)
    source = tree({"train/a/cut.jpg": whole[: len(whole) // 2], "train/a/whole.jpg": whole})
    assert shard(source, tmp_path / "out", "--shards", 1, *FLAGS).code == 0
    page = read(tmp_path / "out")
    assert len(page.pictures) == 1
    assert len(page.figures) == 2
    cut = next(text for text in page.figures if "cut" in text)
    assert "truncated" in cut
    assert thumbnail(b"text") == thumbnail(b"") != thumbnail(whole)


def test_pictures_that_are_no_plain_jpeg() -> None:
    for mode, kind in (("CMYK", "JPEG"), ("L", "JPEG"), ("RGBA", "PNG"), ("P", "PNG")):
        buffer = io.BytesIO()
        Image.new(mode, (400, 40)).save(buffer, kind)
        small = thumbnail(buffer.getvalue())
        assert isinstance(small, bytes), (mode, small)
        with Image.open(io.BytesIO(small)) as image:
            assert (image.mode, image.size) == ("RGB", (96, 10))


def test_a_shard_that_is_gone(out: Path) -> None:
    (out / "pets-train-0001.tar").unlink()
    page = read(out)
    lost = read_manifest(out).splits["train"].shards[1].samples
    assert sum("its shard cannot be read" in text for text in page.figures) == lost
    assert len(page.pictures) == 30 - lost


def test_rows_that_are_gone(out: Path) -> None:
    before = write_report(out, read_manifest(out)).read_bytes()
    (out / "pets-train.samples.npy").unlink()
    with pytest.raises(DataError, match="rows of train cannot be read"):
        write_report(out, read_manifest(out))
    assert (out / REPORT).read_bytes() == before


def test_the_same_shards_give_the_same_page(out: Path, pets: Path, shard: Shard) -> None:
    first = write_report(out, read_manifest(out)).read_bytes()
    assert write_report(out, read_manifest(out)).read_bytes() == first
    flags = ("--samples-per-shard", 5, *FLAGS)
    for name, seed in (("again", 7), ("other", 8)):
        assert shard(pets, out.with_name(name), *flags, "--seed", seed).code == 0
    pages = [
        write_report(folder, read_manifest(folder)).read_bytes()
        for folder in (out.with_name("again"), out.with_name("other"))
    ]
    assert pages[0] == first
    assert pages[1] != first


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5_300_000, "5.3 MB"), (10**12, "1,000.0 GB")],
)
def test_sizes_as_text(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text
