"""Saving and restoring the checkpoints of one run, all ranks together."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from pipeline.checkpoint import folder as on_disk
from pipeline.checkpoint.progress import Progress
from pipeline.collective import Collective
from pipeline.config.schema import CheckpointConfig
from pipeline.engine import Engine
from pipeline.errors import DataError, PipelineError, PreflightError
from pipeline.log import warn
from pipeline.plan import due
from pipeline.tracking.tracker import Tracker

T = TypeVar("T")


class Checkpoints:
    """The checkpoints of one run; the tracker hears of each best one that is committed.

    Raises PreflightError on all ranks where their folder cannot be written to.
    """

    def __init__(
        self, root: Path, collective: Collective, config: CheckpointConfig, tracker: Tracker
    ):
        self._root, self._collective, self._config = root, collective, config
        self._tracker = tracker
        self._saved_step: int | None = None
        self._saved_at_s = time.monotonic()
        self._whole: set[Path] = set()
        self._broken: set[Path] = set()
        collective.on_main(self._prepare)

    @property
    def is_overdue(self) -> bool:
        """More than checkpoint.every_minutes have passed on this rank since the last one."""
        minutes = self._config.every_minutes
        return minutes is not None and time.monotonic() - self._saved_at_s > 60 * minutes

    def due(self, step: int, steps_per_epoch: int, total: int) -> bool:
        """Does the config ask for a checkpoint after this step?"""
        every_epochs, every_steps = self._config.every_epochs, self._config.every_steps
        return due(step, every_epochs * steps_per_epoch, total) or due(step, every_steps, total)

    def save(self, engine: Engine, progress: Progress, must: bool = False) -> None:
        """Write one checkpoint; nothing older goes before it is whole.

        Where the disk refuses, a warning says so and training goes on; if it ``must`` be
        written, that is a PipelineError on all ranks.
        """
        if self._saved_step == progress.step:
            return
        self._saved_at_s = time.monotonic()
        world = self._collective.world
        final = self._root / on_disk.name_of(progress.step)
        temporary = final.with_name(f"{final.name}.attempt-{world.attempt}{on_disk.TEMPORARY}")
        mine = self._share(engine)
        buffers = {name: b.detach().cpu().contiguous() for name, b in engine.module.named_buffers()}
        try:
            self._collective.on_main(lambda: _refusal(lambda: _fresh_folder(temporary)))
            share = self._collective.all_or_error(
                lambda: _refusal(lambda: on_disk.write_state(temporary, world.rank, mine))
            )
            shares = {k: v for part in self._collective.gather(share) for k, v in part.items()}
            self._collective.on_main(
                lambda: _refusal(
                    lambda: on_disk.commit(temporary, final, shares, buffers, progress)
                )
            )
        except _Refused as error:
            self._collective.on_main(lambda: shutil.rmtree(temporary, ignore_errors=True))
            before = "none" if self._saved_step is None else f"that of step {self._saved_step}"
            text = (
                f"checkpoint of step {progress.step} was not written: {error}; the last is {before}"
            )
            if must:
                raise PipelineError(f"{text}; make room and start again") from None
            if world.is_main:
                warn(f"{text}; training goes on")
            return
        self._saved_step = progress.step
        self._collective.on_main(lambda: self._remove_old(final))

    def restore(self, engine: Engine, images: Tensor) -> Progress:
        """Load the newest whole checkpoint, if any; broken ones are named and skipped.

        images: (B, 3, H, W) of any content, for the optimizer's first step.
        """
        found = self._collective.on_main(lambda: self._newest(may_be_bad=True))
        progress = Progress()
        if found is not None:
            engine.create_moments(images)
            progress = self._load(engine, found)
            self._saved_step = progress.step
            # Said before, unless a kill came between the commit and its record.
            self._collective.on_main(lambda: self._tell(on_disk.committed(self._root)))
        self._tracker.resumed(progress.step)
        return progress

    def roll_back(self, engine: Engine) -> Progress | None:
        """Load the newest whole checkpoint from before the skipped steps; None if there is none."""
        found = self._collective.on_main(lambda: self._newest(may_be_bad=False))
        return None if found is None else self._load(engine, found)

    def _prepare(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            probe = self._root / f"probe{on_disk.TEMPORARY}"
            probe.mkdir(exist_ok=True)
        except OSError as error:
            raise PreflightError(
                f"{self._root}: checkpoints cannot be written there ({error.strerror}); make it a "
                "folder of this user with room in it, or set runs_root to another one"
            ) from None
        for leftover in self._root.glob(f"*{on_disk.TEMPORARY}"):
            try:
                shutil.rmtree(leftover)
            except OSError as error:
                warn(f"{leftover}, left by an earlier start, stays: {error.strerror}")

    def _load(self, engine: Engine, folder: Path) -> Progress:
        files = on_disk.StateFiles(folder)
        parameters = list(engine.parameters())
        wanted = {f"{kind}/{name}" for name, p in parameters for kind in engine.state.kinds(p)}
        other = sorted(wanted ^ files.names())
        if other:
            raise DataError(
                f"checkpoint {folder} is of another model or optimizer: they differ in "
                f"{', '.join(other[:3])} and {max(0, len(other) - 3)} more; use its own config"
            )
        for name, parameter in parameters:
            for kind in engine.state.kinds(parameter):
                engine.state.write(parameter, kind, files.read(f"{kind}/{name}"))
        saved = on_disk.read_buffers(folder)
        for name, buffer in engine.module.named_buffers():
            buffer.copy_(saved[name])
        progress = on_disk.read_progress(folder)
        engine.state.set_update_count(progress.updates)
        return progress

    def _share(self, engine: Engine) -> dict[str, Tensor]:
        """This rank's part of the state, about equal in bytes over the ranks."""
        loads = [0] * self._collective.world.size
        mine: dict[str, Tensor] = {}
        for name, parameter in engine.parameters():
            owner = loads.index(min(loads))
            for kind in engine.state.kinds(parameter):
                value = engine.state.read(parameter, kind)
                loads[owner] += value.numel()
                if owner == self._collective.world.rank:
                    # NCHW contiguous: channels_last strides do not survive safetensors.
                    mine[f"{kind}/{name}"] = value.detach().cpu().contiguous().clone()
        return mine

    def _newest(self, may_be_bad: bool) -> Path | None:
        for folder in reversed(on_disk.step_folders(self._root)):
            if self._is_whole(folder) and (
                may_be_bad or on_disk.read_progress(folder).skipped_in_a_row == 0
            ):
                return folder
        return None

    def _is_whole(self, folder: Path) -> bool:
        """Look at every byte of it; one that does not count is named once."""
        reason = on_disk.problem(folder)
        if reason is None:
            self._whole.add(folder)
        elif folder not in self._broken:
            self._whole.discard(folder)
            self._broken.add(folder)
            warn(f"checkpoint {folder} is skipped: {reason}")
        return reason is None

    def _remove_old(self, newest: Path) -> None:
        """Keep the newest and the best; what does not count is left as it lies."""
        self._whole.add(newest)
        self._broken.discard(newest)
        folders = [
            folder
            for folder in on_disk.step_folders(self._root)
            if folder in self._whole or (folder not in self._broken and self._is_whole(folder))
        ]
        self._tell(folders)
        keep = {*folders[-self._config.keep_last :], on_disk.best_of(folders)}
        for folder in folders:
            if folder not in keep:
                try:
                    on_disk.remove(folder)
                except OSError as error:
                    warn(f"old checkpoint {folder} stays: {error.strerror}")
                    self._whole.discard(folder)
                    self._broken.add(folder)

    def _tell(self, folders: list[Path]) -> None:
        """Let the tracker know the best of them."""
        if folders:
            best = on_disk.best_of(folders)
            if on_disk.read_progress(best).top1 is not None:
                self._tracker.model(on_disk.step_of(best), best)


class _Refused(PipelineError):
    """The file system did not take a checkpoint."""


def _refusal(action: Callable[[], T]) -> T:
    try:
        return action()
    except OSError as error:
        raise _Refused(error.strerror or str(error)) from None


def _fresh_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
