"""Images of a split, batch after batch: read ahead, decoded and transformed, not yet mixed."""

from collections.abc import Callable, Generator, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.data.augment.transforms import Transforms
from pipeline.data.bad_samples import BadSamples
from pipeline.data.dali.decoding import Jpegs
from pipeline.data.dali.gpu_decoder import GpuDecoder, gpu_decoder
from pipeline.data.dali.graph import GraphSettings
from pipeline.data.dali.operations import Canvas, fill_of
from pipeline.data.dali.stream import Decoded, DecodeStream, Request
from pipeline.data.reading import Reader
from pipeline.shards import ShardSplit


class Images:
    """The images of one split on one device."""

    def __init__(self, config: Config, split: ShardSplit, device: torch.device):
        self.split = split
        self.bad = BadSamples(split, config.data.max_bad_samples)
        self._config, self._device = config, device

    def decoded(
        self,
        ids: Callable[[], Iterator[NDArray[np.int64]]],
        transforms: Iterable[Transforms],
        batch_size: int,
        layers: int,
        decode_only: bool = False,
    ) -> Generator[Decoded, None, None]:
        """A batch for each item of ``ids()`` and of ``transforms``, which belong together.

        ids: gives the same batches of at most ``batch_size`` sample ids at each call; layers:
        operations per image; decode_only: for timing, sizes come instead of pixels. Raises
        DataError where a shard cannot be read, see Reader, or too many images cannot be decoded.
        """
        data = self._config.data
        files = self.read(ids())
        requests = (
            Request(batch, jpegs, batch_transforms)
            for batch, jpegs, batch_transforms in zip(ids(), files, transforms, strict=True)
        )
        stream = DecodeStream(
            requests,
            self._settings(batch_size, layers, decode_only),
            batch_size=batch_size,
            threads=data.decode_threads,
            prefetch=data.prefetch_batches,
            device_id=self._device.index if self._device.type == "cuda" else None,
            bad=self.bad,
        )
        try:
            yield from stream
        finally:
            # Threads and DALI's buffers go now, not when Python next looks for garbage.
            stream.close()
            files.close()

    def read(self, ids: Iterator[NDArray[np.int64]]) -> Generator[Jpegs, None, None]:
        """The files of each batch of sample ids, read ahead. Raises DataError, see Reader."""
        data = self._config.data
        return Reader(self.split, data.read_threads, data.read_timeout_s).batches(ids)

    def _settings(self, batch_size: int, layers: int, decode_only: bool) -> GraphSettings:
        augment = self._config.augment
        on_gpu = self._device.type == "cuda"
        return GraphSettings(
            canvas=Canvas(augment.img_size, fill_of(augment), on_gpu),
            gpu_decoder=self._gpu_decoder(batch_size) if on_gpu else None,
            layers=layers,
            decode_only=decode_only,
        )

    def _gpu_decoder(self, batch_size: int) -> GpuDecoder | None:
        data = self._config.data
        if data.decode == "cpu":
            return None
        sizes = self.split.sizes(np.arange(len(self.split)))
        return gpu_decoder(sizes, batch_size, data.hw_decoder_load)
