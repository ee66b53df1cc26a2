"""A model under DeepSpeed: optimizer steps, predictions, and who is to blame for a bad step."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.collective import Collective
from pipeline.config import Config
from pipeline.data.batches import MicroBatch, Step
from pipeline.engine.compilation import compiled_so_far
from pipeline.engine.start import start
from pipeline.engine.state import State
from pipeline.models.batch_norm import StepStatistics
from pipeline.models.computing import ImageForm
from pipeline.plan import Plan


@dataclass(frozen=True)
class Culprit:
    """A micro-batch whose loss or gradients are not finite."""

    micro_batch: int
    sample_ids: tuple[int, ...]
    bad_sample_ids: tuple[int, ...]
    """Those of them whose logits are not finite; none where only gradients are not."""
    loss: float
    parameters: tuple[str, ...]
    """Names of those whose gradients are not finite, last layer first."""


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step left behind on this rank."""

    losses: Tensor
    """(micro_batches,) fp32 on the device: the mean loss of each one computed here, else 0."""
    grad_norm: Tensor | None
    """() fp32 on the device, where reading it waits for all that the GPU has yet to do."""
    is_skipped: bool
    """The gradients held inf or NaN: weights, moments and statistics are as before."""
    has_compiled: bool = False
    """The step had to wait for torch.compile on this rank; the main one's count is told."""
    culprits: tuple[Culprit, ...] = ()
    """Where it is skipped: those among this rank's micro-batches."""


class Engine:
    """A model, its optimizer and DeepSpeed; ``state`` is all that a checkpoint keeps of them."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: Config,
        plan: Plan,
        collective: Collective,
    ):
        self._plan, self._collective = plan, collective
        self._form = ImageForm(config)
        self._smoothing = config.augment.smoothing
        # Of the model in fp32; the engine rounds its own to its dtype.
        weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        if plan.gradient_scale != 1.0:
            optimizer.register_step_pre_hook(self._scale_gradients)
        self._gathers_weights = config.engine.zero_stage == 3
        self._images_want_gradients = self._gathers_weights and bool(config.model.freeze)
        with collective.waiting("start of the engine"):
            deepspeed, self._engine = start(model, optimizer, config, plan)
        self.device = torch.device(self._engine.device)
        self.module: nn.Module = self._engine.module
        self.state = State(
            deepspeed,
            self._engine,
            config.engine.zero_stage,
            weights,
            config.optim.model_ema_decay,
            collective,
        )
        self._grad_norm = torch.zeros((), device=self.device)
        self._statistics = StepStatistics(self.module, plan.micro_batches)

    def train_step(self, step: Step, lr: float) -> StepResult:
        """Forward, backward and update over this rank's slots."""
        graphs = compiled_so_far().graphs
        with self._collective.waiting("gradients", step.number + 1):
            losses, is_skipped = self._run(step, lr)
        has_compiled = compiled_so_far().graphs > graphs
        if is_skipped:
            return StepResult(losses, None, True, has_compiled, self._culprits(step))
        self.state.update_average()
        return StepResult(losses, self._grad_norm, False, has_compiled)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W). Returns (B, num_classes) fp32, in evaluation mode."""
        self._engine.eval()
        if not self._gathers_weights:
            return self._form.evaluated(self._engine, images)
        with self._collective.waiting("weights for a prediction"):
            return self._form.evaluated(self._engine, images)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters, in the same order on every rank."""
        return self.module.named_parameters()

    def create_moments(self, like: Tensor) -> None:
        """Let the optimizer make its moments, by a step of zero gradient at a rate of 0.

        like: (B, 3, H, W) images. Moments can be written only after one step.
        """
        self._engine.train()
        self._set_lr(0.0)
        # Not compiled: nothing else would be computed in batches of this size.
        eager = torch.compiler.set_stance("force_eager")
        with self._collective.waiting("first moments"), eager:
            for _ in range(self._plan.slots):
                logits = self._engine(self._as_input(like), None)
                self._engine.backward(logits.float().sum() * 0.0)
                self._engine.step()
        self.state.moments_were_made()

    def _run(self, step: Step, lr: float) -> tuple[Tensor, bool]:
        """One step of all slots. Returns losses as in StepResult, and whether it was skipped."""
        self._engine.train()
        self._set_lr(lr)
        losses = torch.zeros(self._plan.micro_batches, device=self.device)
        is_applied = True
        for slot in step.slots:
            loss, _ = self._backward(slot)
            if not slot.is_empty:
                losses[slot.index] = loss
                if self._statistics:
                    self._statistics.note(slot.index)
            is_applied = self._update()
        if self._statistics:
            table = self._collective.total(self._statistics.take())
            if is_applied:
                self._statistics.apply(table)
        return losses, not is_applied

    def _backward(self, slot: MicroBatch) -> tuple[Tensor, Tensor]:
        """Forward and backward of one slot; returns its mean loss and its logits, detached."""
        torch.manual_seed(slot.torch_seed)
        with self._collective.waiting("forward pass"):
            logits = self._engine(self._as_input(slot.images), slot.drop_path).float()
            loss = cross_entropy(logits, slot.targets, label_smoothing=self._smoothing)
        scale = 0.0 if slot.is_empty else self._plan.loss_scale
        with self._collective.waiting("gradients"):
            self._engine.backward(loss * scale, scale_wrt_gas=False)
        return loss.detach(), logits.detach()

    def _as_input(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W). Returns what the model is to be trained on."""
        images = self._form.arranged(images)
        # In stage 3 the end of a block's backward pass is when its input's gradient is there;
        # behind frozen layers there would be none, and its weights would go too early.
        return images.detach().requires_grad_() if self._images_want_gradients else images

    def _update(self) -> bool:
        """End a slot; after the last one, DeepSpeed updates. Returns whether it did not skip."""
        with self._collective.waiting("update"):
            return self._is_updated()

    def _is_updated(self) -> bool:
        if hasattr(self._engine.optimizer, "overflow"):
            self._engine.step()
            is_applied = self._engine.was_step_applied()
            if is_applied:
                norm = self._engine.get_global_grad_norm()
                self._grad_norm = torch.as_tensor(norm) * self._plan.gradient_scale
            return is_applied
        # Stage 0 in fp32 is the bare optimizer: nothing in DeepSpeed looks at its gradients.
        is_finite = True
        if self._engine.is_gradient_accumulation_boundary():
            gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
            self._grad_norm = torch.nn.utils.get_total_norm(gradients) * self._plan.gradient_scale
            is_finite = bool(torch.isfinite(self._grad_norm))
            if not is_finite:
                self._engine.zero_grad()
        self._engine.step()
        return is_finite

    def _culprits(self, step: Step) -> tuple[Culprit, ...]:
        """Repeat a skipped step and watch each gradient, under every ZeRO stage alike."""
        found: list[Culprit] = []
        with self._watched_gradients() as bad_parameters:
            for slot in step.slots:
                bad_parameters.clear()
                loss, logits = self._backward(slot)
                rows = (~torch.isfinite(logits).all(1)).nonzero().flatten().tolist()
                if not slot.is_empty and (bad_parameters or not torch.isfinite(loss)):
                    ids = tuple(slot.ids[row] for row in rows) if slot.ids else ()
                    found.append(
                        Culprit(slot.index, slot.ids, ids, float(loss), tuple(bad_parameters))
                    )
                self._update()
        if self._statistics:
            self._statistics.take()
        return tuple(found)

    @contextlib.contextmanager
    def _watched_gradients(self) -> Iterator[list[str]]:
        """Within, the list grows by the parameters whose gradients are not finite.

        All gradients become NaN, so that DeepSpeed skips what is computed here.
        """
        bad: list[str] = []

        def hook_of(name: str) -> Callable[[Tensor], Tensor]:
            def hook(gradient: Tensor) -> Tensor:
                if not bool(torch.isfinite(gradient).all()):
                    bad.append(name)
                return torch.full_like(gradient, torch.nan)

            return hook

        handles = [
            parameter.register_hook(hook_of(name))
            for name, parameter in self.module.named_parameters()
            if parameter.requires_grad
        ]
        try:
            yield bad
        finally:
            for handle in handles:
                handle.remove()

    def _scale_gradients(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Before an update, in fp32 under every stage: see Plan.gradient_scale."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(self._plan.gradient_scale)

    def _set_lr(self, lr: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
