"""The DALI graphs. They execute parameters and draw nothing; only importer of nvidia.dali."""

# DALI's type stubs leave out its constants and the arguments that may be None or data nodes.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from pipeline.data.augment import Transforms
from pipeline.errors import DataError

if TYPE_CHECKING:
    import torch

Jpegs = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Request:
    """One batch for DALI: (B,) JPEG files, what to do with each, and their names for errors."""

    jpegs: Jpegs
    transforms: Transforms
    names: Callable[[int], str]


class DecodeStream:
    """Requests in, images out, in the same order; DALI works ``prefetch`` batches ahead.

    Iterating yields (B, img_size, img_size, 3) uint8 tensors on ``device``.
    Raises DataError that names the samples that DALI cannot decode.
    """

    def __init__(
        self,
        requests: Iterator[Request],
        batch_size: int,
        img_size: int,
        device: "torch.device",
        decode: Literal["cpu", "gpu"],
        threads: int,
        prefetch: int,
    ):
        self._in_flight: list[Request] = []
        self._requests = requests
        self._pipe: Any = _image_graph(
            source=self._feed(),
            img_size=img_size,
            decode=decode,
            on_gpu=device.type == "cuda",
            batch_size=batch_size,
            num_threads=threads,
            device_id=device.index if device.type == "cuda" else None,
            prefetch_queue_depth=prefetch,
        )
        self._pipe.build()

    def __iter__(self) -> "Iterator[torch.Tensor]":
        return self

    def __next__(self) -> "torch.Tensor":
        try:
            (images,) = self._pipe.run()
        except RuntimeError as error:
            raise DataError(self._blame(error)) from error
        # Here, not above: DecodeCheck's processes do without torch.
        import torch

        self._in_flight.pop(0)
        # DALI reuses its buffer at the next run.
        return torch.from_dlpack(images.as_tensor()).clone()

    def _feed(self) -> Iterator[tuple[Any, ...]]:
        for request in self._requests:
            self._in_flight.append(request)
            t = request.transforms
            yield (
                list(request.jpegs),
                t.boxes[:, :2].astype(np.int32),
                t.boxes[:, 2:].astype(np.int32),
                t.resized[:, ::-1].astype(np.float32),
                t.crops[:, ::-1].astype(np.int32),
                np.where(t.bicubic, types.INTERP_CUBIC, types.INTERP_LINEAR).astype(np.int32),
                t.flips.astype(np.int32),
            )

    def _blame(self, error: RuntimeError) -> str:
        for request in self._in_flight:
            for index, reason in enumerate(DecodeCheck().refusals(request.jpegs)):
                if reason is not None:
                    return (
                        f"{request.names(index)} cannot be decoded ({reason}); the shards hold a "
                        "damaged image: run `python data_prep/shard.py SOURCE` into a new folder "
                        "with --check full"
                    )
        return f"DALI failed: {error}"


@pipeline_def
def _image_graph(source: Any, img_size: int, decode: str, on_gpu: bool) -> Any:
    jpegs, start, shape, resized, crop, filters, flip = fn.external_source(
        source=source,
        num_outputs=7,
        dtype=[types.UINT8, *[types.INT32] * 2, types.FLOAT, *[types.INT32] * 3],
        ndim=[1, 1, 1, 1, 1, 0, 0],
    )
    images = fn.decoders.image_slice(
        jpegs,
        start=start,
        shape=shape,
        axis_names="WH",
        adjust_orientation=False,
        output_type=types.RGB,
        device="mixed" if decode == "gpu" else "cpu",
    )
    if on_gpu:
        images = images.gpu()
    filters = fn.reinterpret(filters, dtype=types.INTERP_TYPE)
    images = fn.resize(images, size=resized, interp_type=filters, antialias=True)
    images = fn.slice(images, start=crop, shape=[img_size, img_size], axes=[0, 1])
    return fn.flip(images, horizontal=flip)


class DecodeCheck:
    """Asks DALI's CPU decoder, the one that trains, which images it refuses."""

    _BATCH = 32

    def __init__(self, threads: int = 1):
        self._threads = threads
        self._pipe: Any = None
        self._images: Jpegs = []

    def refusals(self, images: Jpegs) -> list[str | None]:
        """images: (N,) files. Returns (N,): DALI's reason against each one, or None."""
        reasons: list[str | None] = []
        for start in range(0, len(images), self._BATCH):
            batch = images[start : start + self._BATCH]
            if self._refused(batch) is None:
                reasons += [None] * len(batch)
            else:
                reasons += [self._refused([image]) for image in batch]
        return reasons

    def _refused(self, images: Jpegs) -> str | None:
        if any(len(image) == 0 for image in images):
            return "empty file"
        if self._pipe is None:
            self._pipe = self._build()
        self._images = images
        try:
            with _silent_stderr():
                self._pipe.run()
        except RuntimeError as error:
            self._pipe = None  # DALI declares a failed pipeline unusable
            return _reason(error)
        return None

    def _build(self) -> Any:
        @pipeline_def(
            batch_size=self._BATCH,
            num_threads=self._threads,
            device_id=None,
            prefetch_queue_depth=1,
        )
        def graph() -> Any:
            jpegs = fn.external_source(source=lambda: list(self._images), dtype=types.UINT8, ndim=1)
            images = fn.decoders.image(jpegs, adjust_orientation=False, output_type=types.RGB)
            # The pixels stay where they are; only the sizes are handed out.
            return images.shape()

        pipe: Any = graph()
        pipe.build()
        return pipe


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """The decoder writes of each refusal to descriptor 2, past Python; we name it ourselves."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _reason(error: RuntimeError) -> str:
    """The sentence of a DALI error that speaks of the image."""
    _, _, cause = str(error).partition("encountered:")
    sentence = next((line.strip() for line in cause.splitlines() if line.strip()), str(error))
    if sentence.startswith("Failed to decode sample"):
        return "DALI fails to decode it: damaged or truncated"
    if sentence.startswith("nvImageCodec failure"):
        return f"DALI does not take it for an image ({sentence})"
    return sentence[:200]
