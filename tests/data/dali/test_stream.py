"""A GPU that fails is not taken for images that cannot be decoded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.transforms import train_transforms
from pipeline.data.bad_samples import BadSamples
from pipeline.data.dali import stream
from pipeline.data.dali.graph import GraphSettings
from pipeline.data.dali.handover import Handover
from pipeline.data.dali.operations import Canvas
from pipeline.shards import open_split
from tests.data.dali.test_graph import JPEGS, SIZES


class FailedGraph:
    """Fails at every batch, as DALI does behind another kernel's illegal access."""

    def __init__(self, source: Iterator[Any], **_: object):
        self._source = source

    def build(self) -> None:
        pass

    def run(self) -> None:
        next(self._source)
        raise RuntimeError("CUDA runtime API error cudaErrorIllegalAddress (700)")


class FailedDevice(Handover):
    def require_device(self) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_no_image_is_blamed(monkeypatch: pytest.MonkeyPatch, damaged_shards: Path) -> None:
    monkeypatch.setattr(stream, "image_graph", FailedGraph)
    monkeypatch.setattr(stream, "Handover", FailedDevice)
    ids = np.arange(len(SIZES))
    request = stream.Request(ids, JPEGS, train_transforms(AugmentConfig(), 1, 0, ids, SIZES))
    bad = BadSamples(open_split(damaged_shards, "train"), 3)
    settings = GraphSettings(Canvas(32, (0, 0, 0), False), None, 2)
    decoded = stream.DecodeStream(iter([request]), settings, len(SIZES), 1, 1, None, bad)
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        next(decoded)
    assert not bad.reasons
