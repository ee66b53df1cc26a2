"""Requests in, images out: the running graph, and what happens where an image breaks it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.augment.transforms import Transforms
from pipeline.data.bad_samples import BadSamples
from pipeline.data.dali.decoding import Jpegs
from pipeline.data.dali.graph import GraphSettings, graph_inputs, image_graph
from pipeline.data.dali.handover import Handover
from pipeline.data.dali.reasons import reason_of
from pipeline.errors import DataError

_FAILURES_IN_A_ROW = 8


@dataclass(frozen=True)
class Request:
    """One batch for DALI: B samples."""

    ids: NDArray[np.int64]
    """(B,) sample ids."""
    jpegs: Jpegs
    """B files."""
    transforms: Transforms


@dataclass(frozen=True)
class Decoded:
    """One batch from DALI."""

    pixels: Tensor
    """(B, side, side, 3) uint8 on the device; see Handover for streams."""
    sources: NDArray[np.int64]
    """(B,) whose image each one is: its own position, but for images that cannot be decoded."""


class DecodeStream:
    """Batches of images in the order of the requests; DALI works ``prefetch`` batches ahead.

    Where DALI fails, the batch that is due is done again image by image, on the CPU's decoder
    first; an image that no decoder takes is replaced by another one of its batch. Raises
    DataError where the failure is not an image's.
    """

    def __init__(
        self,
        requests: Iterator[Request],
        settings: GraphSettings,
        batch_size: int,
        threads: int,
        prefetch: int,
        device_id: int | None,
        bad: BadSamples,
    ):
        def build(
            source: Iterator[Any], settings: GraphSettings, batch_size: int, prefetch: int
        ) -> Any:
            pipe: Any = image_graph(
                source=source,
                settings=settings,
                batch_size=batch_size,
                num_threads=threads,
                device_id=device_id,
                prefetch_queue_depth=prefetch,
            )
            pipe.build()
            return pipe

        self._settings = settings
        self._handover = Handover(device_id)
        self._requests = requests
        self._bad = bad
        self._in_flight: list[Request] = []
        self._failures_in_a_row = 0
        self._build = lambda source: build(source, settings, batch_size, prefetch)
        # The decoders to try one by one: the CPU's first, which takes more kinds of JPEG.
        tries = dict.fromkeys((replace(settings, gpu_decoder=None), settings))
        self._singles = [
            _Single(partial(build, settings=each, batch_size=1, prefetch=1), each) for each in tries
        ]
        self._pipe: Any = self._build(self._feed([]))

    def __iter__(self) -> Iterator[Decoded]:
        return self

    def __next__(self) -> Decoded:
        try:
            (images,) = self._pipe.run()
        except RuntimeError as error:
            self._handover.require_device()
            return self._again_one_by_one(error)
        self._failures_in_a_row = 0
        request = self._in_flight.pop(0)
        return Decoded(self._handover(images), self._bad.sources(request.ids))

    def close(self) -> None:
        """Give DALI's threads and memory back; the stream is no longer of use."""
        self._pipe = None
        self._singles.clear()
        self._in_flight.clear()

    def _feed(self, undone: list[Request]) -> Iterator[tuple[Any, ...]]:
        yield from map(self._inputs_of, undone)
        yield from map(self._inputs_of, self._requests)

    def _inputs_of(self, request: Request) -> tuple[Any, ...]:
        self._in_flight.append(request)
        rows = self._bad.sources(request.ids)
        jpegs = [request.jpegs[row] for row in rows.tolist()]
        return graph_inputs(jpegs, request.transforms.kept(rows), self._settings)

    def _again_one_by_one(self, error: RuntimeError) -> Decoded:
        """The batch that is due; DALI declares a failed graph unusable, so a new one goes on."""
        if not self._in_flight:
            raise DataError(f"DALI failed: {error}") from error
        request = self._in_flight.pop(0)
        known = len(self._bad.reasons)
        images = [self._one(request, position) for position in range(len(request.ids))]
        # The failure may be a later batch's, or a GPU decoder's that the CPU's makes good.
        self._failures_in_a_row += 1
        if len(self._bad.reasons) == known and self._failures_in_a_row > _FAILURES_IN_A_ROW:
            raise DataError(f"DALI fails though it decodes each image: {error}") from error
        sources = self._bad.sources(request.ids)
        shown = [images[source] for source in sources.tolist()]
        pixels = self._handover.together([image for image in shown if image is not None])
        assert len(pixels) == len(sources)
        undone, self._in_flight = self._in_flight, []
        self._pipe = self._build(self._feed(undone))
        return Decoded(pixels, sources)

    def _one(self, request: Request, position: int) -> Tensor | None:
        sample = int(request.ids[position])
        if sample in self._bad.reasons:
            return None
        transforms = request.transforms.kept(np.array([position]))
        jpeg = request.jpegs[position]
        reasons: list[str] = []
        for single in self._singles:
            try:
                images = single.image(jpeg, transforms)
            except RuntimeError as error:
                self._handover.require_device()
                reasons.append(reason_of(error))
            else:
                return self._handover(images)
        self._bad.add(sample, reasons[0])
        return None


class _Single:
    """The same graph for one image at a time."""

    def __init__(self, build: Callable[[Iterator[Any]], Any], settings: GraphSettings):
        self._build, self._settings = build, settings
        self._pipe: Any = None
        self._inputs: tuple[Any, ...] = ()

    def image(self, jpeg: NDArray[np.uint8], transforms: Transforms) -> Any:
        """DALI's (1, side, side, 3) uint8. Raises RuntimeError where DALI does."""
        self._inputs = graph_inputs([jpeg], transforms, self._settings)
        if self._pipe is None:
            self._pipe = self._build(self._feed())
        try:
            (images,) = self._pipe.run()
        except RuntimeError:
            self._pipe = None
            raise
        return images

    def _feed(self) -> Iterator[tuple[Any, ...]]:
        while True:
            yield self._inputs
