"""Adds up what steps report, the same on any world and across interruptions."""

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.checkpoint import Progress
from pipeline.collective import Collective
from pipeline.config import Config
from pipeline.data.batches import Step
from pipeline.engine import StepResult
from pipeline.errors import DivergedError
from pipeline.plan import Plan
from pipeline.tracking.journal import EPOCH
from pipeline.train.utilisation import share_of_peak


class Meter:
    """Loss, speed and divergence since the last journal entry.

    An interrupted run's sums are taken over; each rank holds those of its micro-batches.
    """

    def __init__(
        self,
        config: Config,
        plan: Plan,
        collective: Collective,
        device: torch.device,
        progress: Progress,
    ):
        self._plan = plan
        self._share_of_peak = share_of_peak(config, device)
        self._collective = collective
        # fp64 per micro-batch: the mean does not depend on who computed which.
        self._sums = torch.zeros(plan.micro_batches, dtype=torch.float64, device=device)
        if progress.loss_sums:
            mine = list(plan.micro_batches_of(collective.world.rank))
            sums = torch.tensor(progress.loss_sums, dtype=torch.float64, device=device)
            self._sums[mine] = sums[mine]
        self._restart_clock()

    def add(self, progress: Progress, step: Step, result: StepResult) -> Progress:
        """Count a step."""
        if not result.is_skipped:  # its loss may be NaN, and it changed nothing
            self._sums += result.losses.double()
        if result.has_compiled:  # of this start, not of the training
            self._restart_clock()
        else:
            self._timed_steps += 1
            self._wait_s += step.wait_s
        self._grad_norm = result.grad_norm
        return replace(
            progress,
            step=step.number + 1,
            updates=progress.updates + (not result.is_skipped),
            skipped_in_a_row=progress.skipped_in_a_row + 1 if result.is_skipped else 0,
            skipped_steps=progress.skipped_steps + result.is_skipped,
            loss_steps=progress.loss_steps + (not result.is_skipped),
            top1=None,
        )

    def carry(self, progress: Progress) -> Progress:
        """Progress with the sums so far, as a checkpoint keeps them. Raises DivergedError."""
        sums = self._collective.total(self._sums.cpu().clone())
        if not bool(torch.isfinite(sums).all()):
            raise DivergedError(
                f"the loss is not finite at step {progress.step}; the last checkpoint is from "
                "before it: lower optim.lr_base or set optim.clip_grad=1.0"
            )
        return replace(progress, loss_sums=tuple(sums.tolist()))

    def collect(self, progress: Progress, lr: float) -> tuple[dict[str, float], Progress]:
        """Metrics since the last call, by their names in the journal. Raises DivergedError."""
        sums = self.carry(progress).loss_sums
        metrics = {
            "train/lr": lr,
            "train/skipped_steps": float(progress.skipped_steps),
        }
        metrics |= self._speed() | self.axes(progress)
        if progress.loss_steps:
            metrics["train/loss"] = math.fsum(sums) / (len(sums) * progress.loss_steps)
        if self._grad_norm is not None:
            metrics["train/grad_norm"] = float(self._grad_norm)
        self._sums.zero_()
        self._restart_clock()
        return metrics, replace(progress, loss_sums=(), loss_steps=0)

    def axes(self, progress: Progress) -> dict[str, float]:
        """What curves can be drawn against beside the step."""
        return {
            EPOCH: progress.step / self._plan.steps_per_epoch,
            "progress/images": float(progress.step * self._plan.global_batch),
        }

    def pause(self) -> float:
        """A time to hand to ``go_on``: what lies between is no training time."""
        return time.perf_counter()

    def go_on(self, paused: float) -> None:
        """End a pause."""
        self._began += time.perf_counter() - paused

    def _speed(self) -> dict[str, float]:
        """Of the timed steps; nothing where all of them waited for torch.compile."""
        if not self._timed_steps:
            return {}
        seconds = time.perf_counter() - self._began
        images = self._timed_steps * self._plan.global_batch
        metrics = {
            "perf/img_per_s": images / seconds,
            "perf/data_wait_pct": 100 * self._wait_s / seconds,
        }
        if self._share_of_peak is not None:
            images_of_a_rank = images / self._plan.world_size
            metrics["perf/mfu"] = images_of_a_rank / seconds * self._share_of_peak
        return metrics

    def _restart_clock(self) -> None:
        self._began = time.perf_counter()
        self._wait_s = 0.0
        self._timed_steps = 0
        self._grad_norm: Tensor | None = None
