"""The activations alone, in Triton's interpreter, beside PyTorch's in float64."""

import pytest

pytest.importorskip("triton")

import torch
import triton
from torch.nn import functional

from pipeline.models.kernels.mlp_kernels import activate, activation_gradient_

pytestmark = pytest.mark.skipif(
    not triton.knobs.runtime.interpret, reason="these tensors are on the CPU"
)
ACTIVATIONS = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}
U = torch.cat((torch.linspace(-20, 20, 4001), torch.linspace(-0.01, 0.01, 95))).reshape(1, -1, 32)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_values_and_derivatives_are_those_of_float64(act: str) -> None:
    right = U.double().requires_grad_()
    values = ACTIVATIONS[act](right)
    values.sum().backward()
    assert right.grad is not None
    gradient = torch.ones_like(U)
    activation_gradient_(gradient, U, torch.ones(1), None, act)
    torch.testing.assert_close(activate(U, None, act).double(), values, rtol=2e-6, atol=5e-7)
    torch.testing.assert_close(gradient.double(), right.grad, rtol=2e-6, atol=5e-7)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_what_diverged_shows(act: str) -> None:
    u = torch.tensor([float("nan"), float("inf")]).reshape(1, 1, 2)
    assert activate(u, None, act).isnan().tolist() == [[[True, False]]]
    assert activate(u, None, act)[0, 0, 1] == float("inf")
