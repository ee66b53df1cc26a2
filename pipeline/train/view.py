"""What the person at the terminal sees of a training: progress, and a closing summary."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.checkpoint import Progress
from pipeline.config import Config
from pipeline.log import ProgressLine, duration, info
from pipeline.plan import Plan
from pipeline.tracking.run_folder import RunFolder, write_json
from pipeline.world import World

_FILE_EVERY_S = 0.5


@dataclass(frozen=True)
class Result:
    """How a training ended."""

    progress: Progress
    is_complete: bool
    seconds: float
    images_per_s: float
    """Over this launch, evaluations and checkpoints included."""

    def summary(self) -> dict[str, float | str]:
        """What tracking keeps of the end."""
        best = self.progress.best_top1
        facts: dict[str, float | str] = {
            "step": float(self.progress.step),
            "seconds": self.seconds,
            "img_per_s": self.images_per_s,
        }
        return facts if best is None else facts | {"best_top1": best}


class View:
    """Progress on the main rank: a bar or lines, and ``progress.json`` for launchers."""

    def __init__(self, config: Config, plan: Plan, folder: RunFolder, world: World, start: int):
        self._config, self._plan, self._folder, self._world = config, plan, folder, world
        self._start, self._began, self._wrote = start, time.monotonic(), 0.0
        self._facts: dict[str, str] = {}
        self._line = ProgressLine(
            "train", plan.total_steps, start, config.tracking.terminal_every_s, world.is_main
        )
        if world.is_main:
            self._announce()

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a step; metrics are those journaled at it, if any."""
        for name, (key, form) in _SHOWN.items():
            if key in metrics:
                self._facts[name] = form.format(metrics[key])
        epoch = f"{min(self._plan.epoch_of(step), self._plan.schedule_epochs - 1) + 1}"
        facts = {"epoch": f"{epoch}/{self._plan.schedule_epochs}"} | self._facts
        self._line.update(step, facts)
        now = time.monotonic()
        is_last = step == self._plan.total_steps
        if self._world.is_main and (is_last or now - self._wrote >= _FILE_EVERY_S):
            self._wrote = now
            shown: dict[str, float] = {
                "step": step,
                "start": self._start,
                "total": self._plan.total_steps,
                # Over this launch, so with evaluations and checkpoints: what is left takes as long.
                "seconds_per_step": (now - self._began) / (step - self._start),
                "at_s": time.time(),
            }
            # Twice a second: no fsync for what the next one replaces, and no end of the training
            # by a full disk, of which the journal and the checkpoints warn.
            with contextlib.suppress(OSError):
                write_json(
                    self._folder.progress, shown | {"facts": facts}, survives_power_loss=False
                )

    def close(self, progress: Progress, link: str | None, next_step: str) -> Result:
        """The closing summary, on the main rank. next_step: how it goes on if it has stopped."""
        self._line.close()
        seconds = time.monotonic() - self._began
        images = (progress.step - self._start) * self._plan.global_batch
        is_complete = progress.step >= self._plan.total_steps
        result = Result(progress, is_complete, seconds, images / seconds)
        if self._world.is_main:
            state = "finished" if is_complete else f"stopped at step {progress.step}, saved"
            best = "not evaluated"
            if progress.best_top1 is not None:
                best = f"{progress.best_top1:.2f} % at step {progress.best_step}"
                if self._config.optim.model_ema_decay is not None:
                    best += " (weights' average)"
                best += "" if progress.top1 is None else f", last {progress.top1:.2f} %"
            rows = {
                "run": f"{self._config.name} ({state})",
                "best top-1": best,
                "time": f"{duration(seconds)}, {result.images_per_s:.0f} img/s with evaluations",
                "run folder": str(self._folder.path),
                "MLflow": link or "-",
            }
            if not is_complete:
                rows["goes on"] = next_step
            for name, text in rows.items():
                info(f"  {name:<11} {text}")
        return result

    def _announce(self) -> None:
        plan, world = self._plan, self._world
        idle = f", {plan.idle_slots} idle slots" if plan.idle_slots else ""
        info(
            f"{self._config.name}: {self._config.model.name} in {self._config.engine.dtype}, ZeRO "
            f"{self._config.engine.zero_stage}, {world.size} rank(s) on {self._config.device}; "
            f"step = {plan.micro_batches} x {plan.micro_batch} images{idle}; "
            f"{plan.total_steps} steps, {plan.steps_per_epoch} an epoch; "
            f"{plan.train_samples} + {plan.val_samples} images"
        )
        if self._start >= plan.total_steps:
            info("finished before: nothing to do")
        elif self._start:
            info(f"resuming after step {self._start}")


_SHOWN = {
    "loss": ("train/loss", "{:.3f}"),
    "img/s": ("perf/img_per_s", "{:.0f}"),
    "top1": ("val/top1", "{:.2f}"),
}
