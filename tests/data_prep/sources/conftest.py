"""A few images in every form in which people have ImageNet."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.data_prep.sources import miniatures
from tests.data_prep.sources.miniatures import Miniature, miniature

WNIDS = ["n02085620", "n01440764", "n03126707", "n01443537"]
BUILDERS = {
    "archives": miniatures.archives,
    "kaggle": miniatures.kaggle,
    "imagefolder": miniatures.imagefolder,
    "parquet": miniatures.parquet,
    "webdataset": miniatures.webdataset_tars,
}


@pytest.fixture(scope="session")
def photographs(jpeg: Callable[..., bytes]) -> list[bytes]:
    """Real ones where there are some, else noise."""
    folder = os.environ.get("SAMPLE_PHOTOS")
    if folder:
        return [path.read_bytes() for path in sorted(Path(folder).rglob("*.JPEG"))[:30]]
    return [jpeg(seed, 20 + seed) for seed in range(30)]


@pytest.fixture(scope="session")
def mini(photographs: list[bytes]) -> Miniature:
    return miniature(photographs, WNIDS, seed=1)


@pytest.fixture(scope="session")
def sources(mini: Miniature, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Layout -> folder."""
    root = tmp_path_factory.mktemp("sources")
    found = {name: build(mini, root / name) for name, build in BUILDERS.items()}
    found["parquet with ImageNet's labels"] = miniatures.parquet(
        mini, root / "parquet1000", labels=imagenet_labels(WNIDS), with_test=True
    )
    found["webdataset with json"] = miniatures.webdataset_tars(
        mini, root / "json", with_json=True, validation_digits=2, labels=imagenet_labels(WNIDS)
    )
    return found


def imagenet_labels(wnids: Iterable[str]) -> dict[str, int]:
    """Their labels in the whole of ImageNet-1k."""
    every = (Path(__file__).parents[3] / "data_prep/imagenet1k_wnids.txt").read_text().split()
    return {wnid: every.index(wnid) for wnid in wnids}
