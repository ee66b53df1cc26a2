"""The reference: the same training in plain PyTorch, one process, fp32, torch.optim.AdamW."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config import Config
from pipeline.data.batches import Step
from pipeline.models.build import build_model
from pipeline.optim import Schedule, build_optimizer
from pipeline.plan import Plan

MOMENTS = ("exp_avg", "exp_avg_sq")
State = dict[str, Tensor]
"""``master/<parameter>``, and so on for both moments; ``buffer/<name>``."""


@dataclass(frozen=True)
class OneStep:
    """What a step from a given state shows, before and after its update."""

    losses: Tensor
    """(micro_batches,) fp32."""
    gradients: dict[str, Tensor]
    """Averaged over the micro-batches, by parameter."""
    buffers: dict[str, Tensor]
    """After the step."""
    logits: Tensor
    """(B, classes) fp32 in evaluation mode, before the step."""
    logits_after: Tensor


class Plain:
    """A model and its optimizer; ``nudged`` is the number of a weight that starts one ulp off."""

    def __init__(self, config: Config, plan: Plan, nudged: int | None = None):
        self._smoothing = config.augment.smoothing
        self._schedule = Schedule(config.optim, config.train, plan)
        self._micro_batches = plan.micro_batches
        self.model = build_model(config.model, config.seed, config.augment.img_size)
        _update_statistics_at_once(self.model)
        if nudged is not None:
            self._nudge(nudged)
        self.optimizer = build_optimizer(self.model, config.optim, plan.lr_peak)
        assert type(self.optimizer) is torch.optim.AdamW

    def train(self, steps: Sequence[Step]) -> Tensor:
        """Losses of each micro-batch, (steps, micro_batches)."""
        return torch.stack([self.step(step) for step in steps])

    def step(self, step: Step) -> Tensor:
        """One update; returns the losses of its micro-batches."""
        losses = self._accumulate(step)
        self._update(step)
        return losses

    def examine(self, step: Step, questions: Tensor) -> OneStep:
        """The same update, watched."""
        logits = self._logits(questions)
        losses = self._accumulate(step)
        gradients = {
            name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None
        }
        self._update(step)
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        return OneStep(losses, gradients, buffers, logits, self._logits(questions))

    def state(self) -> State:
        """A copy of all that the training goes on from."""
        found: State = {}
        for name, parameter in self.model.named_parameters():
            found[f"master/{name}"] = parameter.detach().clone()
            for moment in MOMENTS:
                value = self.optimizer.state[parameter].get(moment, torch.zeros_like(parameter))
                found[f"{moment}/{name}"] = value.clone()
        return found | {f"buffer/{name}": b.clone() for name, b in self.model.named_buffers()}

    def _accumulate(self, step: Step) -> Tensor:
        self.model.train()
        losses = []
        for slot in step.slots:
            torch.manual_seed(slot.torch_seed)
            logits = self.model(slot.images, slot.drop_path)
            loss = cross_entropy(logits, slot.targets, label_smoothing=self._smoothing)
            loss.backward()
            losses.append(loss.detach())
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad /= self._micro_batches
        return torch.stack(losses)

    def _update(self, step: Step) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._schedule.lr(step.number)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        self.model.eval()
        return self.model(images, None)

    @torch.no_grad()
    def _nudge(self, number: int) -> None:
        """One ulp up, for weight ``number`` of those of all matrices and kernels."""
        for parameter in self.model.parameters():
            if parameter.ndim > 1:
                if number < parameter.numel():
                    weight = parameter.view(-1)[number : number + 1]
                    weight.copy_(torch.nextafter(weight, torch.tensor(torch.inf)))
                    return
                number -= parameter.numel()
        raise IndexError("the model has fewer weights")


def _update_statistics_at_once(model: nn.Module) -> None:
    """BatchNorm as PyTorch has it, whose forward passes update the running statistics."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = nn.BatchNorm2d
