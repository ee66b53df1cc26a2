"""Readers by others find in each miniature what they find in the original."""

import csv
import gc
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data_prep.sources import miniatures
from tests.data_prep.sources.miniatures import Miniature

WNIDS = ("n03126707", "n01440764", "n02012849")
LABELS = {"n03126707": 517, "n01440764": 0, "n02012849": 134}
"""As in the thousand; both of 517 and 134 are called "crane"."""
RANKS = {"n01440764": 0, "n02012849": 1, "n03126707": 2}


@pytest.fixture(scope="module")
def mini(jpeg: Callable[..., bytes]) -> Miniature:
    return miniatures.miniature([jpeg(seed) for seed in range(20)], WNIDS)


def stems(split: miniatures.Split) -> dict[str, bytes]:
    return {stem: jpeg for images in split.values() for stem, jpeg in images.items()}


def wnids(split: miniatures.Split) -> dict[str, str]:
    return {stem: wnid for wnid, images in split.items() for stem in images}


def test_every_image_is_dealt_once_under_its_own_name(
    mini: Miniature, jpeg: Callable[..., bytes]
) -> None:
    dealt = [*stems(mini.val).values(), *stems(mini.train).values()]
    assert sorted(dealt) == sorted(jpeg(seed) for seed in range(20))
    assert [len(images) for images in mini.train.values()] == [5, 5, 4]
    assert [len(images) for images in mini.val.values()] == [2, 2, 2]
    assert sorted(stems(mini.val)) == [f"ILSVRC2012_val_{n:08d}" for n in range(1, 7)]
    assert [*stems(mini.val)] != sorted(stems(mini.val))
    for wnid, images in mini.train.items():
        assert all(stem.startswith(f"{wnid}_") for stem in images)


def test_a_seed_settles_it(mini: Miniature, jpeg: Callable[..., bytes], tmp_path: Path) -> None:
    images = [jpeg(seed) for seed in range(20)]
    assert miniatures.miniature(images, WNIDS) == mini
    assert miniatures.miniature(images, WNIDS, seed=1) != mini
    names = ("LOC_val_solution.csv", "LOC_train_solution.csv", "LOC_sample_submission.csv")
    first, again, other = (
        miniatures.kaggle(mini, tmp_path / name, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    for name in names:
        assert (first / name).read_bytes() == (again / name).read_bytes()
    assert (first / names[0]).read_bytes() != (other / names[0]).read_bytes()


def test_torchvision_reads_the_devkit(
    mini: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagenet: Any = pytest.importorskip("torchvision.datasets.imagenet")
    root = miniatures.archives(mini, tmp_path / "official")
    monkeypatch.setattr(imagenet, "_verify_archive", lambda *_: None)
    imagenet.parse_devkit_archive(root)
    classes, val_wnids = imagenet.load_meta_file(root)
    assert classes == {
        "n01440764": ("tench", "Tinca tinca"),
        "n02012849": ("crane",),
        "n03126707": ("crane",),
    }
    assert val_wnids == [wnid for _, wnid in sorted(wnids(mini.val).items())]
    imagenet.parse_train_archive(root)
    imagenet.parse_val_archive(root)
    for split, images in (("train", mini.train), ("val", mini.val)):
        found = {path.relative_to(root / split): path for path in (root / split).rglob("*.JPEG")}
        assert {name: path.read_bytes() for name, path in found.items()} == {
            Path(wnid) / f"{stem}.JPEG": images[wnid][stem] for stem, wnid in wnids(images).items()
        }


def test_scipy_finds_the_synsets_as_matlab_stores_them(mini: Miniature, tmp_path: Path) -> None:
    scipy_io: Any = pytest.importorskip("scipy.io")
    root = miniatures.archives(mini, tmp_path)
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz") as kit:
        names = kit.getnames()
        member = kit.extractfile("ILSVRC2012_devkit_t12/data/meta.mat")
        assert member is not None
        synsets = scipy_io.loadmat(io.BytesIO(member.read()))["synsets"]
    assert {f"ILSVRC2012_devkit_t12/{name}" for name in ("readme.txt", "evaluation")} < {*names}
    assert synsets.shape == (6, 1)
    assert synsets.dtype.names == (
        *("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children"),
        *("wordnet_height", "num_train_images"),
    )
    rows = [row[0] for row in synsets]
    assert [row["ILSVRC2012_ID"].item() for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["num_children"].item() for row in rows] == [0, 0, 0, 3, 1, 1]
    assert [row["children"].tolist() for row in rows] == [[[]]] * 3 + [[[1, 2, 3]], [[4]], [[5]]]
    leaves = [row["WNID"].item() for row in rows[:3]]
    assert leaves != sorted(leaves) == sorted(WNIDS)
    assert miniatures.ilsvrc_ids(WNIDS) == {wnid: i for i, wnid in enumerate(leaves, 1)}
    assert [row["num_train_images"].item() for row in rows[:3]] == [
        len(mini.train[wnid]) for wnid in leaves
    ]


@pytest.mark.parametrize(
    ("format", "magic"),
    [(tarfile.GNU_FORMAT, b"ustar  \0"), (tarfile.USTAR_FORMAT, b"ustar\x0000")],
)
def test_tarfile_reads_the_tars_in_the_order_given(
    mini: Miniature, tmp_path: Path, format: int, magic: bytes
) -> None:
    root = miniatures.archives(mini, tmp_path, format=format)
    found: dict[str, dict[str, bytes]] = {}
    assert (root / "ILSVRC2012_img_train.tar").read_bytes()[257:265] == magic
    for name, inner in members((root / "ILSVRC2012_img_train.tar").read_bytes()).items():
        assert inner[257:265] == magic
        images = members(inner)
        assert [*images] == [f"{stem}.JPEG" for stem in mini.train[name.removesuffix(".tar")]]
        found[name.removesuffix(".tar")] = {n.removesuffix(".JPEG"): b for n, b in images.items()}
    assert found == mini.train
    assert [*found] == [*WNIDS] != sorted(WNIDS)
    val = members((root / "ILSVRC2012_img_val.tar").read_bytes())
    assert val == {f"{stem}.JPEG": jpeg for stem, jpeg in stems(mini.val).items()}


def members(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_csv_reads_kaggles_solution(mini: Miniature, tmp_path: Path) -> None:
    root = miniatures.kaggle(mini, tmp_path / "kaggle", listed_wnids=["n01443537"])
    with (root / "LOC_val_solution.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    order = [row["ImageId"] for row in rows]
    assert sorted(order) == sorted(stems(mini.val)) != order
    for row in rows:
        assert row["PredictionString"].endswith(" ")
        boxes = row["PredictionString"].split()
        assert len(boxes) % 5 == 0
        assert {*boxes[::5]} == {wnids(mini.val)[row["ImageId"]]}
    assert any(len(row["PredictionString"].split()) > 5 for row in rows)
    mapping = dict(
        line.split(" ", 1) for line in (root / "LOC_synset_mapping.txt").read_text().splitlines()
    )
    assert [*mapping] == sorted([*WNIDS, "n01443537"])
    assert mapping["n01440764"] == "tench, Tinca tinca"
    data = root / "ILSVRC" / "Data" / "CLS-LOC"
    listed = (root / "ILSVRC/ImageSets/CLS-LOC/train_cls.txt").read_text().splitlines()
    found = {path.relative_to(data / "train") for path in (data / "train").rglob("*.JPEG")}
    assert {Path(f"{line.split()[0]}.JPEG") for line in listed} == found
    assert {path.stem: path.read_bytes() for path in (data / "val").iterdir()} == stems(mini.val)
    assert len(list((data / "test").iterdir())) == 3


def test_an_image_folder_has_one_folder_a_class(mini: Miniature, tmp_path: Path) -> None:
    root = miniatures.imagefolder(mini, tmp_path, val_name="validation")
    assert {path.relative_to(root): path.read_bytes() for path in root.rglob("*.JPEG")} == {
        Path(split) / wnid / f"{stem}.JPEG": images[wnid][stem]
        for split, images in (("train", mini.train), ("validation", mini.val))
        for stem, wnid in wnids(images).items()
    }


@pytest.mark.parametrize(("labels", "expected"), [(None, RANKS), (LABELS, LABELS)])
def test_pyarrow_reads_the_hubs_parquet(
    mini: Miniature, tmp_path: Path, labels: dict[str, int] | None, expected: dict[str, int]
) -> None:
    pq: Any = pytest.importorskip("pyarrow.parquet")
    root = miniatures.parquet(mini, tmp_path, labels=labels, with_test=True)
    names = ["test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"]
    files = {path.stem: path for path in sorted((root / "data").iterdir())}
    assert [*files] == [*names, "validation-00000-of-00001"]
    about = pq.read_metadata(files["train-00000-of-00002"])
    assert about.num_row_groups == 3
    assert about.row_group(0).column(0).compression == "SNAPPY"
    schema = pq.read_schema(files["validation-00000-of-00001"])
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert str(schema.field("label").type) == "int64"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    hub_names = features["label"]["names"]
    assert hub_names[expected["n03126707"]] == "crane2"
    assert len({*hub_names}) == len(hub_names) == max(expected.values()) + 1
    for split, images in (("train", mini.train), ("validation", mini.val)):
        paths = [path for stem, path in files.items() if stem.startswith(split)]
        rows = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
        labels_found = [row["label"] for row in rows]
        assert labels_found != sorted(labels_found)
        assert {row["image"]["path"]: (row["image"]["bytes"], row["label"]) for row in rows} == {
            f"{stem}_{wnid}.JPEG": (images[wnid][stem], expected[wnid])
            for stem, wnid in wnids(images).items()
        }
    assert {row["label"] for row in pq.read_table(files[names[0]]).to_pylist()} == {-1}


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("with_json", [False, True])
def test_webdataset_reads_its_tars(mini: Miniature, tmp_path: Path, with_json: bool) -> None:
    wds: Any = pytest.importorskip("webdataset")
    root = miniatures.webdataset_tars(mini, tmp_path, with_json=with_json)
    names = ["train-0000", "train-0001", "validation-0000"]
    assert sorted(path.stem for path in root.iterdir()) == [f"imagenet1k-{name}" for name in names]
    for split, images in (("train", mini.train), ("validation", mini.val)):
        tars = [str(path) for path in sorted(root.glob(f"imagenet1k-{split}-*.tar"))]
        samples = list(wds.WebDataset(tars, shardshuffle=False))
        # webdataset closes its tars only when they are collected, which must be within the test.
        gc.collect()
        assert {sample["__key__"]: (sample["jpg"], int(sample["cls"])) for sample in samples} == {
            stem: (images[wnid][stem], RANKS[wnid]) for stem, wnid in wnids(images).items()
        }
        assert [s["__key__"] for s in samples] != sorted(s["__key__"] for s in samples)
        assert {"json" in sample for sample in samples} == {with_json}


def test_the_webdataset_writer_leaves_nothing_open(mini: Miniature, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    miniatures.webdataset_tars(mini, tmp_path, validation_digits=2, labels=LABELS)
    gc.collect()
    content = members((tmp_path / "imagenet1k-validation-00.tar").read_bytes())
    for stem, wnid in wnids(mini.val).items():
        assert content[f"{stem}.cls"] == str(LABELS[wnid]).encode()
