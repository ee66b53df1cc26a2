"""The MLP's activations and their derivatives, as parts of Triton kernels, in fp32.

With erf, GELU and its derivative make the elementwise kernels 38 and 59 instructions an element
(counted in their code for an H100), more than an H200 does in the time to read and write it. So
here they come from the normal density φ and Mills' ratio R(a) = (1 - Φ(a)) / φ(a), a smooth
function and so a polynomial: one exponential, 24 and 36 instructions.
"""

import triton
import triton.language as tl

_NAN = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit
def _density_and_ratio(u):
    """φ(a) and R(a) of a = |u|, held at 6; and a; φ R is right to 2e-7.

    The coefficients: degree 10, least largest error on [0, 6] weighted by φ^0.8 (Lawson's
    algorithm, float64); R(0) = √(π/2).
    """
    a = tl.minimum(tl.abs(u), 6.0, propagate_nan=_NAN)
    # φ = 2^(-a² log2(e) / 2 - log2(√(2π)))
    density = tl.exp2(a * a * -0.7213475204444817 - 1.3257480647361593)
    ratio = 2.7592507999633796e-06 * a - 6.541341480804545e-05
    ratio = ratio * a + 0.0006886258595009655
    ratio = ratio * a - 0.00432029262235685
    ratio = ratio * a + 0.018466407488693402
    ratio = ratio * a - 0.058970112950758866
    ratio = ratio * a + 0.15167639805701466
    ratio = ratio * a - 0.3314223065771634
    ratio = ratio * a + 0.626280421471122
    ratio = ratio * a - 0.9999710974553842
    ratio = ratio * a + 1.253313771356163
    return density, ratio, a


@triton.jit
def activation(u, ACT: tl.constexpr):
    """``nn.GELU()`` (with erf, not tanh), ``nn.ReLU()`` or ``nn.SiLU()`` of u, fp32; NaN of NaN."""
    if ACT == "gelu":
        density, ratio, _ = _density_and_ratio(u)
        tail = density * ratio
        return u * tl.where(u > 0.0, 1.0 - tail, tail)
    elif ACT == "silu":
        return u / (1.0 + tl.exp(-u))
    else:
        tl.static_assert(ACT == "relu")
        return tl.maximum(u, 0.0, propagate_nan=_NAN)


@triton.jit
def derivative(u, ACT: tl.constexpr):
    """Of ``activation`` at u, fp32. ReLU's at 0 is 0, as PyTorch's."""
    if ACT == "gelu":
        density, ratio, a = _density_and_ratio(u)
        # Φ(u) + u φ(u) is this at -a, and 1 less this at a.
        below = density * (ratio - a)
        return tl.where(u > 0.0, 1.0 - below, below)
    elif ACT == "silu":
        sigmoid = 1.0 / (1.0 + tl.exp(-u))
        return sigmoid * (1.0 + u * (1.0 - sigmoid))
    else:
        tl.static_assert(ACT == "relu")
        return tl.where(u > 0.0, 1.0, 0.0)
