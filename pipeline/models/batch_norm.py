"""BatchNorm whose running statistics do not depend on who computed which micro-batch.

PyTorch updates them in every forward pass, so that each rank would keep its own. Here a forward
pass in training only notes the statistics of its micro-batch; they are applied once per
optimizer step, in the order of the micro-batches.
"""

from collections.abc import Sequence

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.functional import batch_norm


class PerStepBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d of the same state dict; ``batch_mean`` and ``batch_var`` are the last batch's.

    Running statistics are fp32 whatever the dtype of the weights.
    """

    batch_mean: Tensor
    """(C,) fp32."""
    batch_var: Tensor
    """(C,) fp32, unbiased."""

    def forward(self, input: Tensor) -> Tensor:
        """input: (B, C, H, W). Returns the same shape and dtype."""
        weight, bias = (None if p is None else p.float() for p in (self.weight, self.bias))
        if not self.training:
            assert self.running_mean is not None and self.running_var is not None
            return batch_norm(
                input, self.running_mean, self.running_var, weight, bias, eps=self.eps
            )
        # At a momentum of 1 PyTorch leaves the batch's own statistics in these.
        mean, var = (torch.zeros(self.num_features, device=input.device) for _ in range(2))
        output = batch_norm(
            input, mean, var, weight, bias, training=True, momentum=1.0, eps=self.eps
        )
        self.batch_mean, self.batch_var = mean, var
        return output

    def apply_statistics(self, means: Tensor, variances: Tensor) -> None:
        """Update the running statistics by those of a step's micro-batches, each (M, C) fp32."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        for mean, var in zip(means, variances, strict=True):
            self.num_batches_tracked += 1
            rate = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
            self.running_mean.lerp_(mean, rate)
            self.running_var.lerp_(var, rate)


class PerStepBatchNormAct2d(PerStepBatchNorm2d):
    """timm's BatchNormAct2d, likewise."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """input: (B, C, H, W). Returns the same shape and dtype."""
        return self.act(self.drop(super().forward(input)))


_OURS = {nn.BatchNorm2d: PerStepBatchNorm2d, BatchNormAct2d: PerStepBatchNormAct2d}


def per_step_batch_norms(model: nn.Module) -> None:
    """Make every BatchNorm of the model one of this kind, in place; weights stay as they are."""
    for module in model.modules():
        if type(module) in _OURS:
            module.__class__ = _OURS[type(module)]


def batch_norms(model: nn.Module) -> list[PerStepBatchNorm2d]:
    """Those of the model that keep running statistics, in its order."""
    return [
        module
        for module in model.modules()
        if isinstance(module, PerStepBatchNorm2d) and module.track_running_stats
    ]


class StepStatistics:
    """Collects the statistics of one step's micro-batches over all BatchNorms of a model."""

    def __init__(self, model: nn.Module, micro_batches: int):
        self._norms = batch_norms(model)
        self._sizes = [norm.num_features for norm in self._norms]
        self._table = torch.zeros(micro_batches, 2 * sum(self._sizes))

    def __bool__(self) -> bool:
        """Whether the model has any BatchNorm."""
        return bool(self._norms)

    def note(self, micro_batch: int) -> None:
        """Keep what the last forward pass left behind as the statistics of this micro-batch."""
        parts = [part for norm in self._norms for part in (norm.batch_mean, norm.batch_var)]
        self._table[micro_batch] = torch.cat(parts).cpu()

    def take(self) -> Tensor:
        """(M, 2 × channels) fp32 on the host, zero where another rank knows; begins anew."""
        table, self._table = self._table, torch.zeros_like(self._table)
        return table

    def apply(self, table: Tensor) -> None:
        """table: what ``take`` gave, summed over the ranks."""
        pieces: Sequence[Tensor] = table.split([s for size in self._sizes for s in (size, size)], 1)
        for number, norm in enumerate(self._norms):
            assert norm.running_mean is not None
            means, variances = (
                piece.to(norm.running_mean.device) for piece in pieces[2 * number : 2 * number + 2]
            )
            norm.apply_statistics(means, variances)
