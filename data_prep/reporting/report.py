"""``OUT/report.html``: one page, without scripts or other files, on what the shards hold."""

import base64
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.durable import write_file
from data_prep.reporting.charts import aspect_chart, column_chart, share_bar, size_chart
from data_prep.reporting.markup import (
    STYLE,
    count_table,
    escaped,
    more,
    name_table,
    section,
    size_text,
    split_table,
)
from data_prep.wording import plural, printable
from pipeline.errors import DataError
from pipeline.shards import Manifest, ShardSplit, SplitManifest

REPORT = "report.html"
THUMBNAILS = 48
"""Images of a split that are shown."""
THUMBNAIL_PIXELS = 96
"""Of the longer side."""
_NAMED_CLASSES = 40
"""Up to so many, every class gets a bar with its name."""
_EXTREMES = 5
_MAX_REASONS = 50
_SAMPLING_KEY = 0


@dataclass(frozen=True)
class Unreadable:
    """Why there is no thumbnail."""

    reason: str


def write_report(out: Path, manifest: Manifest) -> Path:
    """Write OUT/report.html on every split of the manifest; returns its path.

    The same shards give the same bytes, with one version of Pillow. Raises DataError where
    a split's rows cannot be read, UserError where the disk refuses the page.
    """
    splits = {name: _opened(out, manifest, name) for name in manifest.splits}
    path = out / REPORT
    write_file(path, page(manifest, splits).encode())
    return path


def page(manifest: Manifest, splits: Mapping[str, ShardSplit]) -> str:
    """The whole page."""
    every = manifest.splits
    sizes = {name: split.sizes(np.arange(len(split))) for name, split in splits.items()}
    sections = [
        section("Samples per class", {n: _classes(manifest.classes, s) for n, s in every.items()}),
        section("Image sizes", {n: _sizes(splits[n], found) for n, found in sizes.items()}),
        section("Bytes per shard", {n: _shards(s) for n, s in every.items()}),
        section("Left out", {n: _left_out(s) for n, s in every.items()}),
        section("Byte-identical images", {n: _duplicates(s) for n, s in every.items()}),
        section("Contact sheet", {n: _contact_sheet(s) for n, s in splits.items()}, "wide"),
    ]
    title = escaped(manifest.dataset)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: shards</title><style>{STYLE}</style></head>\n"
        f"<body><main>{_head(manifest)}\n" + "\n".join(sections) + "\n</main></body></html>\n"
    )


def chosen_samples(samples: int) -> NDArray[np.int64]:
    """At most THUMBNAILS of the ids below ``samples``, at random but always the same: (N,).

    They follow raw Philox words: numpy keeps those across versions, but not its own shuffles.
    """
    words = np.random.Philox(key=_SAMPLING_KEY).random_raw(samples)
    return np.sort(np.argsort(words, kind="stable")[:THUMBNAILS])


def thumbnail(image: bytes) -> bytes | Unreadable:
    """A file as a JPEG of at most THUMBNAIL_PIXELS a side, or why PIL cannot decode it."""
    limits = (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which changes no pixel
            with Image.open(io.BytesIO(image)) as opened:
                opened.draft("RGB", limits)
                small = opened.convert("RGB")
        small.thumbnail(limits)
        small.save(buffer, "JPEG", quality=80)
    except Exception as error:  # noqa: BLE001 - PIL's decoders raise whatever a file leads to
        if isinstance(error, Image.UnidentifiedImageError):
            return Unreadable("not an image")
        return Unreadable(f"{type(error).__name__}: {error}"[:120])
    return buffer.getvalue()


def _opened(out: Path, manifest: Manifest, split: str) -> ShardSplit:
    try:
        return ShardSplit(out, manifest, split)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"OUT={printable(out)}: the rows of {split} cannot be read ({error}); shard {split} "
            "again: the same command rewrites what is missing"
        ) from None


def _head(manifest: Manifest) -> str:
    splits = manifest.splits.values()
    classes = len(manifest.classes)
    facts = {
        "samples": [f"{s.samples:,}" for s in splits],
        "shards": [f"{len(s.shards):,}" for s in splits],
        "size of the shards": [size_text(sum(t.bytes for t in s.shards)) for s in splits],
        f"of {plural(classes, 'class')}, with samples": [
            f"{np.count_nonzero(s.class_counts):,}" for s in splits
        ],
        "quarantined": [f"{len(s.quarantine):,}" for s in splits],
        "byte-identical images": [f"{sum(map(len, s.duplicates)):,}" for s in splits],
    }
    sources, options = [s.source for s in splits], [s.options for s in splits]
    made = {
        **{f"source {k}": [_source_text(k, s.get(k, "")) for s in sources] for k in _keys(sources)},
        **{k: [str(o.get(k, "")) for o in options] for k in _keys(options)},
        "shards_sha256": [s.digest for s in splits],
    }
    tools = ", ".join(f"{name} {version}" for name, version in manifest.tools.items())
    said = [text for split in splits for text in split.warnings]
    listed = "".join(f"<li>{escaped(text)}</li>" for text in said)
    warned = f'<section class="warnings"><h2>Warnings</h2><ul>{listed}</ul></section>'
    return (
        f"<header><h1>{escaped(manifest.dataset)}</h1></header>{warned if said else ''}"
        '<section><h2>Contents</h2><div class="splits">'
        f"<div>{split_table(manifest.splits, facts, 'number')}</div>"
        f'<div>{split_table(manifest.splits, made, "text")}<p class="note">Written with '
        f"{escaped(tools)}.{'' if said else ' No warnings.'}</p></div></div></section>"
    )


def _classes(names: Sequence[str], split: SplitManifest) -> str:
    counts = np.array(split.class_counts, np.int64)
    least, most = int(counts.min()), int(counts.max())
    spread = f"smallest {least:,} · median {np.median(counts):,.10g} · largest {most:,}"
    alike = f"every class has {plural(most, 'sample')}"
    summary = f'<p class="figures">{alike if least == most else spread}</p>'
    if len(names) <= _NAMED_CLASSES:
        rows = [
            f'<tr><th scope="row">{escaped(name)}</th><td class="bar">{share_bar(n / max(1, most))}'
            f'</td><td class="number">{n:,}</td></tr>'
            for name, n in zip(names, counts.tolist(), strict=True)
        ]
        return f'{summary}<table class="bars">{"".join(rows)}</table>'
    if least == most:
        return summary
    order: list[int] = np.argsort(-counts, kind="stable").tolist()
    ranked = [names[label] for label in order]
    chart = column_chart(
        counts[order],
        ranked,
        f"Samples of {plural(len(names), 'class')}, from the largest to the smallest",
        ("largest class", "smallest class"),
        lambda n: f"{n:,}",
    )
    pairs = list(zip(ranked, counts[order].tolist(), strict=True))
    smallest = count_table("smallest classes", pairs[: -_EXTREMES - 1 : -1])
    largest = count_table("largest classes", pairs[:_EXTREMES])
    return f'{summary}{chart}<div class="pair">{smallest}{largest}</div>'


def _sizes(split: ShardSplit, sizes: NDArray[np.int64]) -> str:
    """sizes: (N, 2) width and height in pixels of all samples."""
    width, height = sizes[:, 0], sizes[:, 1]
    aspects = width / np.maximum(1, height)
    measured = {
        "width": (width, "{:,.0f}"),
        "height": (height, "{:,.0f}"),
        "shorter side": (sizes.min(axis=1), "{:,.0f}"),
        "width / height": (aspects, "{:.2f}"),
    }
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(
            f'<td class="number">{form.format(value)}</td>'
            for value in np.percentile(values, [0, 1, 50, 99, 100])
        )
        + "</tr>"
        for name, (values, form) in measured.items()
    )
    columns = "".join(
        f'<th scope="col">{text}</th>' for text in ("min", "1 %", "median", "99 %", "max")
    )
    area = width * height
    named = "".join(
        f"{which}: {width[i]:,} × {height[i]:,} px, {escaped(split.name(i)[1])}<br>"
        for which, i in (("smallest", int(area.argmin())), ("largest", int(area.argmax())))
    )
    return (
        f'<table class="numbers"><tr><td></td>{columns}</tr>{rows}</table>'
        f'<p class="note">{named}</p>'
        f"<h4>width × height, pixels</h4>{size_chart(sizes)}"
        '<p class="note">Darker: more images (log). Dashed: square. As stored: EXIF orientation '
        f"is not applied.</p><h4>width / height</h4>{aspect_chart(aspects)}"
    )


def _shards(split: SplitManifest) -> str:
    sizes = np.array([shard.bytes for shard in split.shards], np.int64)
    spread = (
        f"smallest {size_text(int(sizes.min()))} · median {size_text(round(np.median(sizes)))} · "
        f"largest {size_text(int(sizes.max()))}"
    )
    chart = column_chart(
        sizes,
        [shard.name for shard in split.shards],
        f"Bytes of {plural(len(sizes), 'shard')}",
        ("first shard", "last shard"),
        size_text,
    )
    return f'<p class="figures">{spread}</p>{chart}'


def _left_out(split: SplitManifest) -> str:
    bad = split.quarantine
    if not bad:
        return "<p>Nothing.</p>"
    reasons = sorted(Counter(b.reason for b in bad).items(), key=lambda pair: (-pair[1], pair[0]))
    counted = count_table("reason", reasons[:_MAX_REASONS])
    names = name_table(("name", "reason"), [(b.name, b.reason) for b in bad])
    return counted + more(len(reasons) - _MAX_REASONS, "other reason") + names


def _duplicates(split: SplitManifest) -> str:
    groups = split.duplicates
    if not groups:
        return "<p>None known.</p>"
    spread = sum(len({name.rpartition("/")[0] for name in group}) > 1 for group in groups)
    said = f"{plural(sum(map(len, groups)), 'image')} in {plural(len(groups), 'group')}"
    if spread:
        said += f"; {plural(spread, 'group')} with images of several classes"
    rows = [(str(number), name) for number, group in enumerate(groups, 1) for name in group]
    return f'<p class="figures">{said}</p>{name_table(("group", "name"), rows)}'


def _contact_sheet(split: ShardSplit) -> str:
    ids = chosen_samples(len(split))
    labels = split.labels(ids)
    order = np.argsort(labels, kind="stable")
    figures = "".join(
        _contact(split, sample, split.classes[label])
        for sample, label in zip(ids[order].tolist(), labels[order].tolist(), strict=True)
    )
    return (
        f'<p class="note">{plural(len(ids), "sample")} of {len(split):,}, drawn at random, sorted '
        f'by class.</p><div class="sheet">{figures}</div>'
    )


def _contact(split: ShardSplit, sample: int, class_name: str) -> str:
    key, original = split.name(sample)
    try:
        small = thumbnail(split.read(sample).tobytes())
    except DataError as error:
        small = Unreadable(f"its shard cannot be read: {error}")
    if isinstance(small, Unreadable):
        shown = f'<div class="bad">{escaped(small.reason)}</div>'
    else:
        data = base64.b64encode(small).decode()
        shown = f'<img alt="{escaped(class_name)}" src="data:image/jpeg;base64,{data}">'
    return (
        f'<figure title="{escaped(original)}"><div class="frame">{shown}</div><figcaption>'
        f"<b>{escaped(class_name)}</b> {escaped(key)}</figcaption></figure>\n"
    )


def _keys(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list(dict.fromkeys(key for table in tables for key in table))


def _source_text(key: str, value: object) -> str:
    if isinstance(value, int):
        return size_text(value) if key == "bytes" else f"{value:,}"
    return str(value)
