"""What decoding alone costs: libjpeg-turbo over whole photographs, in as many processes."""

import random
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path

import simplejpeg

from tests.benchmarks.loader.material import BATCH, WORKERS, Material


def whole_photographs(material: Material) -> Iterator[int]:
    """Numbers of images decoded."""
    photographs = material.photographs
    with Pool(WORKERS) as pool:
        while True:
            random.shuffle(photographs)
            starts = range(0, len(photographs) - BATCH + 1, BATCH)
            yield from pool.imap(_decoded, [photographs[start : start + BATCH] for start in starts])


def _decoded(paths: list[Path]) -> int:
    for path in paths:
        simplejpeg.decode_jpeg(path.read_bytes(), colorspace="RGB")
    return len(paths)
