"""From DALI's memory to torch's."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Handover:
    """Copies what DALI made, so that DALI may use its memory again; device_id: None is the CPU.

    On a GPU the copy has a stream of its own: it waits for nothing that the training has queued,
    and nothing there waits for it. The calling thread waits, so what it gets is whole for every
    stream. A stream that uses it must say so before it lets go of it (Tensor.record_stream).
    """

    def __init__(self, device_id: int | None):
        self._stream = None
        if device_id is not None:
            self._stream = torch.cuda.Stream(device_id, priority=-1)

    def __call__(self, images: Any) -> Tensor:
        """images: DALI's batch of equal shapes. Returns it as (B, ...) on the same device."""
        return self._whole(lambda: torch.from_dlpack(images.as_tensor()).clone())

    def together(self, batches: Sequence[Tensor]) -> Tensor:
        """Batches that it gave, as one."""
        return self._whole(lambda: torch.cat(list(batches)))

    def require_device(self) -> None:
        """Raise RuntimeError where the GPU itself has failed, for which no image is to blame."""
        if self._stream is not None:
            self._stream.synchronize()

    def _whole(self, make: Callable[[], Tensor]) -> Tensor:
        if self._stream is None:
            return make()
        with torch.cuda.stream(self._stream):
            made = make()
        self._stream.synchronize()
        return made
