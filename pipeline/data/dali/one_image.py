"""One JPEG decoded by DALI, to see that it can."""

# DALI's type stubs leave out its constants and the arguments that may be None or data nodes.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types


def decode_one(jpeg: NDArray[np.uint8], on_gpu: bool) -> NDArray[np.uint8]:
    """jpeg: (bytes,) a file. Returns (height, width, 3) uint8, decoded on the first GPU or the CPU.

    Raises RuntimeError where DALI, the driver or the GPU refuses.
    """

    @pipeline_def(batch_size=1, num_threads=1, device_id=0 if on_gpu else None)
    def graph() -> Any:
        jpegs = fn.external_source(source=lambda: [jpeg], dtype=types.UINT8, ndim=1)
        device = "mixed" if on_gpu else "cpu"
        return fn.decoders.image(jpegs, device=device, output_type=types.RGB)

    pipe: Any = graph()
    pipe.build()
    (images,) = pipe.run()
    return np.asarray((images.as_cpu() if on_gpu else images).at(0))
