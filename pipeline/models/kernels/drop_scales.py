"""Drop path's scales as a kernel's arguments: (B,) of any float dtype and stride, or none."""

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def scale_of(image, scales, stride, HAS_SCALES: tl.constexpr):
    """The image's scale in fp32; 1 without scales."""
    if HAS_SCALES:
        return tl.load(scales + image * stride).to(tl.float32)
    else:
        return 1.0


def scale_arguments(scales: Tensor | None, unread: Tensor) -> tuple[Tensor, int, bool]:
    """scales, stride and HAS_SCALES for ``scale_of``; without scales a tensor that is not read."""
    return (unread, 0, False) if scales is None else (scales, scales.stride(0), True)
