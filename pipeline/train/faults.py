"""Steps whose gradients are not finite: named, counted, and after too many of them taken back."""

from dataclasses import replace

from pipeline.checkpoint import Checkpoints, Progress
from pipeline.collective import Collective
from pipeline.config.schema import EngineConfig
from pipeline.engine import Culprit, Engine, StepResult
from pipeline.errors import DivergedError
from pipeline.log import warn
from pipeline.tracking.tracker import Tracker

_SHOWN_SAMPLES = 64
_REMEDY = "lower optim.lr_base, raise optim.warmup_epochs or set optim.clip_grad=1.0"


class Faults:
    """What a run does about skipped steps; every rank calls it alike."""

    def __init__(self, config: EngineConfig, collective: Collective, checkpoints: Checkpoints):
        self._config, self._collective, self._checkpoints = config, collective, checkpoints

    def settle(
        self, progress: Progress, result: StepResult, engine: Engine, tracker: Tracker
    ) -> Progress:
        """Say which micro-batches spoilt a step, and roll back at the end of a bad window.

        Rolled back, weights, moments and statistics are those of the last checkpoint from
        before the window, while steps and data go on behind it. Raises DivergedError where
        that was done engine.max_rollbacks times before, or there is no such checkpoint.
        """
        if not result.is_skipped:
            return progress
        culprits = [c for part in self._collective.gather(result.culprits) for c in part]
        named = "; ".join(map(_described, culprits)) or "no single micro-batch, but their sum"
        self._warn(f"step {progress.step} is skipped, its gradients are not finite: {named}")
        tracker.tags({"skipped_steps/latest": f"step {progress.step}: {named}"})
        if progress.skipped_in_a_row < self._config.max_skipped_steps:
            return progress
        progress = self._rolled_back(progress, engine)
        windows = ", ".join(f"{first}-{last}" for first, last in progress.rolled_back)
        tracker.tags({"rolled_back": windows})
        self._checkpoints.save(engine, progress)
        return progress

    def _rolled_back(self, progress: Progress, engine: Engine) -> Progress:
        count = progress.skipped_in_a_row
        first_bad = progress.step - count + 1
        window = (
            f"steps {first_bad} to {progress.step}: {count} in a row had inf or NaN gradients "
            f"(engine.max_skipped_steps={self._config.max_skipped_steps})"
        )
        if len(progress.rolled_back) >= self._config.max_rollbacks:
            raise DivergedError(
                f"{window}, after as many returns to a checkpoint as "
                f"engine.max_rollbacks={self._config.max_rollbacks} allows; {_REMEDY}"
            )
        before = self._checkpoints.roll_back(engine)
        if before is None:
            raise DivergedError(f"{window}, and there is no checkpoint to return to; {_REMEDY}")
        self._warn(
            f"{window}: back to the weights of step {before.step}; steps and data go on behind "
            f"step {progress.step}"
        )
        return replace(
            progress,
            updates=before.updates,
            skipped_in_a_row=0,
            rolled_back=(*progress.rolled_back, (before.step + 1, progress.step)),
        )

    def _warn(self, text: str) -> None:
        if self._collective.world.is_main:
            warn(text)


def _described(culprit: Culprit) -> str:
    what = f"its loss is {culprit.loss:.4g}"
    if culprit.parameters:
        what += (
            f", {len(culprit.parameters)} gradients are not finite, first {culprit.parameters[0]}"
        )
    ids = culprit.bad_sample_ids or culprit.sample_ids
    shown = ", ".join(map(str, ids[:_SHOWN_SAMPLES])) + (", ..." * (len(ids) > _SHOWN_SAMPLES))
    kind = "bad samples" if culprit.bad_sample_ids else "samples"
    return f"micro-batch {culprit.micro_batch} ({what}), {kind} {shown}"
