"""A handful of images in every form in which people have ImageNet-1k on disk.

Names, members, columns and orders are those of the originals. Nothing comes from the product: a
fault that writer and reader of one program share would go unseen.
"""

import io
import json
import random
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Split = dict[str, dict[str, bytes]]

WORDS = {
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
    "n02113186": "Cardigan, Cardigan Welsh corgi",
    "n02119789": "kit fox, Vulpes macrotis",
    "n02963159": "cardigan",
    "n03126707": "crane",
}
"""Some of the thousand; as there, words alone do not tell the classes apart."""
ANCESTORS = {"n00003553": "whole, unit", "n00001930": "physical entity", "n00001740": "entity"}
MTIME_S = 1_339_500_000


@dataclass(frozen=True)
class Miniature:
    """What every form holds: wnid -> {file name without ``.JPEG``: bytes}."""

    train: Split
    val: Split

    @property
    def wnids(self) -> list[str]:
        return sorted(self.train.keys() | self.val.keys())

    @property
    def wnid_of(self) -> dict[str, str]:
        """Stem of a validation image -> wnid, in the order of the numbers."""
        return dict(sorted((stem, wnid) for wnid, images in self.val.items() for stem in images))

    @property
    def test(self) -> dict[str, bytes]:
        """A test split, which has no labels: the first validation images once more."""
        first = [self.val[wnid][stem] for stem, wnid in self.wnid_of.items()][:3]
        return {f"ILSVRC2012_test_{number:08d}": jpeg for number, jpeg in enumerate(first, 1)}


def miniature(
    images: Sequence[bytes], wnids: Sequence[str], *, val_per_class: int = 2, seed: int = 0
) -> Miniature:
    """The first ``val_per_class`` images per class go to val, class after class, the others to
    train, in turn. Val numbers run from 1 without a gap, not in the order of the classes.
    """
    val_count = val_per_class * len(wnids)
    assert len(images) >= val_count + len(wnids), "a class would get no training image"
    rng = random.Random(seed)
    mini = Miniature({wnid: {} for wnid in wnids}, {wnid: {} for wnid in wnids})
    for turn, number in enumerate(unsorted(range(1, val_count + 1), rng)):
        wnid = wnids[turn // val_per_class]
        mini.val[wnid][f"ILSVRC2012_val_{number:08d}"] = images[turn]
    for turn, number in enumerate(rng.sample(range(1, 30_000), len(images) - val_count)):
        wnid = wnids[turn % len(wnids)]
        mini.train[wnid][f"{wnid}_{number}"] = images[val_count + turn]
    return mini


def archives(
    mini: Miniature, root: Path, *, format: int = tarfile.GNU_FORMAT, seed: int = 0
) -> Path:
    """image-net.org's three files. ``format``: of all tars, as ``tarfile`` names it."""
    train = {f"{wnid}.tar": tar(jpegs(images), format) for wnid, images in mini.train.items()}
    val = {stem: jpeg for images in mini.val.values() for stem, jpeg in images.items()}
    ids = ilsvrc_ids(mini.wnids, seed)
    truth = "".join(f"{ids[wnid]}\n" for wnid in mini.wnid_of.values())
    kit = {
        "": None,
        "/COPYING": b"Terms of use.\n",
        "/data": None,
        "/data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
        "/data/meta.mat": meta_mat(mini, ids),
        "/evaluation": None,
        "/evaluation/demo.val.pred.txt": b"1 2 3 4 5\n",
        "/readme.txt": b"This is the documentation of the ILSVRC2012 Development Kit.\n",
    }
    kit = {f"ILSVRC2012_devkit_t12{name}": content for name, content in kit.items()}
    plant(root, {"ILSVRC2012_devkit_t12.tar.gz": tar(kit, format, "w:gz")})
    plant(root, {"ILSVRC2012_img_train.tar": tar(train, format)})
    return plant(root, {"ILSVRC2012_img_val.tar": tar(jpegs(val), format)})


def ilsvrc_ids(wnids: Iterable[str], seed: int = 0) -> dict[str, int]:
    """wnid -> ILSVRC2012_ID, 1 to n: in the devkit of ``archives`` with the same seed."""
    return {wnid: n for n, wnid in enumerate(unsorted(set(wnids), random.Random(seed)), 1)}


def meta_mat(mini: Miniature, ids: Mapping[str, int]) -> bytes:
    """The devkit's synsets, (n, 1), by id: first the leaves, then their ancestors in a chain."""
    import numpy as np
    from scipy.io import savemat

    def stored(*values: int) -> Any:
        # MATLAB keeps whole numbers in the fewest bytes, and scipy reads them so.
        return np.array([values], np.uint8 if max(values, default=0) < 256 else np.uint16)

    rows: list[tuple[Any, ...]] = []
    for wnid in sorted(ids, key=ids.__getitem__):
        leaf = (stored(0), stored(), stored(0), stored(len(mini.train.get(wnid, {}))))
        rows.append((stored(ids[wnid]), wnid, words(wnid), f"gloss of {wnid}", *leaf))
    children = tuple(sorted(ids.values()))
    for height, (wnid, name) in enumerate(ANCESTORS.items(), 1):
        inner = (stored(len(children)), stored(*children), stored(height), stored(0))
        children = (len(rows) + 1,)
        rows.append((stored(*children), wnid, name, f"gloss of {wnid}", *inner))
    fields = "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images"
    synsets = np.array(rows, [(field, object) for field in fields.split()]).reshape(-1, 1)
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets}, do_compression=True)
    return buffer.getvalue()


def kaggle(mini: Miniature, root: Path, *, listed_wnids: Sequence[str] = (), seed: int = 0) -> Path:
    """Kaggle's imagenet-object-localization-challenge, unpacked.

    As there, only some images of train have boxes and so a row in LOC_train_solution.csv.
    listed_wnids: further lines for LOC_synset_mapping.txt.
    """
    rng = random.Random(seed)
    wnid_of = mini.wnid_of
    data = root / "ILSVRC/Data/CLS-LOC"
    for wnid, images in mini.train.items():
        plant(data / "train" / wnid, jpegs(images))
    plant(data / "val", jpegs({stem: mini.val[wnid][stem] for stem, wnid in wnid_of.items()}))
    plant(data / "test", jpegs(mini.test))
    train = {stem: wnid for wnid in mini.wnids for stem in sorted(mini.train.get(wnid, {}))}
    boxed = dict(list(train.items())[::2])
    lists: dict[str, Iterable[str]] = {
        "train_cls.txt": [f"{wnid}/{stem}" for stem, wnid in train.items()],
        "train_loc.txt": [f"{wnid}/{stem}" for stem, wnid in boxed.items()],
        "val.txt": wnid_of,
        "test.txt": mini.test,
    }
    for name, stems in lists.items():
        text = "".join(f"{stem} {number}\n" for number, stem in enumerate(stems, 1))
        plant(root / "ILSVRC/ImageSets/CLS-LOC", {name: text.encode()})
    for stem, wnid in list(wnid_of.items())[:2]:
        note = f"<annotation><object><name>{wnid}</name></object></annotation>\n"
        plant(root / "ILSVRC/Annotations/CLS-LOC/val", {f"{stem}.xml": note.encode()})
    mapping = {wnid: f"{wnid} {words(wnid)}\n" for wnid in sorted({*mini.wnids, *listed_wnids})}
    plant(root, {"LOC_synset_mapping.txt": "".join(mapping.values()).encode()})
    plant(root, {"LOC_train_solution.csv": solution(boxed, rng)})
    plant(root, {"LOC_val_solution.csv": solution(wnid_of, rng)})
    guesses = dict.fromkeys(mini.test, mini.wnids[0])
    return plant(root, {"LOC_sample_submission.csv": solution(guesses, rng)})


def solution(wnid_of: Mapping[str, str], rng: random.Random) -> bytes:
    """One to three boxes an image (xmin ymin xmax ymax, in pixels); a blank ends each row."""
    rows = ["ImageId,PredictionString"]
    for stem, wnid in unsorted(wnid_of.items(), rng):
        boxes = [f"{wnid} {rng.randrange(99)} 1 499 272 " for _ in range(rng.randint(1, 3))]
        rows.append(f"{stem},{''.join(boxes)}")
    return ("\n".join(rows) + "\n").encode()


def imagefolder(mini: Miniature, root: Path, *, val_name: str = "val") -> Path:
    """``train/<wnid>/<stem>.JPEG`` and the same below ``val_name``."""
    for split, classes in (("train", mini.train), (val_name, mini.val)):
        for wnid, images in classes.items():
            plant(root / split / wnid, jpegs(images))
    return root


def parquet(
    mini: Miniature,
    root: Path,
    *,
    rows_per_group: int = 3,
    files: int = 2,
    labels: Mapping[str, int] | None = None,
    with_test: bool = False,
    seed: int = 0,
) -> Path:
    """The Hugging Face hub's imagenet-1k, ``root/data/*.parquet``; returns ``root``.

    labels: wnid -> label; without it, the rank among the sorted wnids. The test split has -1.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    label_of = labels or {wnid: rank for rank, wnid in enumerate(mini.wnids)}
    info = json.dumps({"info": {"features": hub_features(label_of)}})
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64())], {b"huggingface": info.encode()})
    rng = random.Random(seed)
    rows = {
        split: [(label_of[w], f"{stem}_{w}.JPEG", jpeg) for w, stem, jpeg in shuffled(classes, rng)]
        for split, classes in (("train", mini.train), ("validation", mini.val))
    }
    if with_test:
        rows["test"] = [(-1, name, jpeg) for name, jpeg in jpegs(mini.test).items()]
    (root / "data").mkdir(parents=True)
    for split, all_rows in rows.items():
        count = files if split == "train" else 1
        for part in range(count):
            table = [
                {"image": {"bytes": jpeg, "path": path}, "label": label}
                for label, path, jpeg in all_rows[part::count]
            ]
            file = root / "data" / f"{split}-{part:05d}-of-{count:05d}.parquet"
            pq.write_table(pa.Table.from_pylist(table, schema), file, row_group_size=rows_per_group)
    return root


def hub_features(label_of: Mapping[str, int]) -> dict[str, Any]:
    """The names by label, each once: the second crane is ``crane2`` on the hub."""
    names = [f"class {label}" for label in range(max(label_of.values()) + 1)]
    for wnid, label in sorted(label_of.items()):
        names[label] = words(wnid) + "2" * (words(wnid) in names)
    return {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}


def webdataset_tars(
    mini: Miniature,
    root: Path,
    *,
    shards: int = 2,
    with_json: bool = False,
    labels: Mapping[str, int] | None = None,
    validation_digits: int = 4,
    seed: int = 0,
) -> Path:
    """``imagenet1k-train-0000.tar`` and so on, by webdataset; one shard of validation.

    labels: as for ``parquet``. validation_digits: timm/imagenet-1k-wds has 2.
    """
    from webdataset import TarWriter

    label_of = labels or {wnid: rank for rank, wnid in enumerate(mini.wnids)}
    rng = random.Random(seed)
    rows = shuffled(mini.train, rng)
    parts = {f"train-{shard:04d}": rows[shard::shards] for shard in range(shards)}
    parts[f"validation-{0:0{validation_digits}d}"] = shuffled(mini.val, rng)
    root.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        file = root / f"imagenet1k-{name}.tar"
        with file.open("wb") as stream, TarWriter(stream, mtime=MTIME_S) as writer:
            for wnid, stem, jpeg in part:
                label = label_of[wnid]
                about = {"json": {"filename": f"{stem}.JPEG", "label": label}} if with_json else {}
                writer.write({"__key__": stem, "jpg": jpeg, "cls": label, **about})
    return root


def words(wnid: str) -> str:
    """The synset's words, made up for one that WORDS lacks."""
    return WORDS.get(wnid, f"thing {wnid}, Res {wnid}")


def shuffled(split: Split, rng: random.Random) -> list[tuple[str, str, bytes]]:
    """wnid, stem and bytes of all images."""
    return unsorted(((wnid, *image) for wnid in split for image in split[wnid].items()), rng)


def unsorted(items: Iterable[Any], rng: random.Random) -> list[Any]:
    """A shuffle that never comes out sorted, if two can be out of order."""
    ordered = sorted(items)
    drawn = rng.sample(ordered, len(ordered))
    return drawn if drawn != ordered else drawn[::-1]


def jpegs(images: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{stem}.JPEG": jpeg for stem, jpeg in images.items()}


def plant(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def tar(members: Mapping[str, bytes | None], format: int, mode: Any = "w") -> bytes:
    """Members in the order given; None is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as out:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            member.mtime, member.size = MTIME_S, len(content or b"")
            member.uname = member.gname = "imagenet"
            out.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()
