"""Which images DALI's own CPU decoder refuses."""

# DALI's type stubs leave out its constants and the arguments that may be None or data nodes.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from pipeline.data.dali.reasons import reason_of

Jpegs = Sequence[NDArray[np.uint8]]


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
            return reason_of(error)
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
