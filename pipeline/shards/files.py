"""Names of the files in a shard folder, and what a row of a side file holds."""

import shlex
from pathlib import Path

import numpy as np

MANIFEST = "manifest.json"
TIMM_INFO = "_info.json"
OPEN_CLIP_SIZES = "sizes.json"

SAMPLE_DTYPE = np.dtype(
    [
        ("shard", "<u4"),
        ("offset", "<u8"),  # of the JPEG's first byte in its tar
        ("bytes", "<u4"),  # of the JPEG
        ("width", "<u4"),  # pixels, as stored (EXIF orientation is not applied)
        ("height", "<u4"),
        ("label", "<u4"),
        ("name_offset", "<u8"),  # in the names file
    ]
)


def shard_name(dataset: str, split: str, index: int) -> str:
    """File name of a shard, ``imagenet1k-train-0007.tar``."""
    return f"{dataset}-{split}-{index:04d}.tar"


def index_name(shard: str) -> str:
    """File name of the DALI index beside a shard."""
    return shard.removesuffix(".tar") + ".idx"


def samples_name(dataset: str, split: str) -> str:
    """File name of a split's sample rows."""
    return f"{dataset}-{split}.samples.npy"


def names_name(dataset: str, split: str) -> str:
    """File name of a split's keys and original names."""
    return f"{dataset}-{split}.names.bin"


def pack_name(key: str, original: str) -> bytes:
    """One record of the names file: ``key NUL original NUL``."""
    return b"%s\0%s\0" % (key.encode(), original.encode(errors="surrogateescape"))


def repair_command(root: Path) -> str:
    """What to call, with the images in the place of SOURCE; all settings are the manifest's."""
    return f"python data_prep/verify.py {shlex.quote(str(root))} --repair SOURCE"
