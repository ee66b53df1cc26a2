"""Checkpoints that are free of world size and ZeRO stage, committed by a rename.

``step-0000123/`` holds ``state-RR.safetensors`` (fp32 master weights and both moments as
``master/<name>``, ``exp_avg/<name>``, ...; which rank wrote what does not matter), buffers,
``progress.json``, and ``COMMITTED``, the list of the others with sizes and sha256.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.collective import Collective
from pipeline.durable import sync_folder, write_file
from pipeline.engine import MASTER, MOMENTS, Engine
from pipeline.errors import DataError
from pipeline.log import warn

_COMMITTED = "COMMITTED"
_PROGRESS = "progress.json"
_BUFFERS = "buffers.safetensors"
_TEMPORARY = ".tmp"


@dataclass(frozen=True)
class Progress:
    """How far a run is; all that a resumed one needs beside the engine's state."""

    step: int = 0
    """Optimizer steps done."""
    updates: int = 0
    """Steps that changed the weights: all but the skipped ones."""
    skipped_in_a_row: int = 0
    skipped_steps: int = 0
    """In all."""
    loss_sums: tuple[float, ...] = ()
    """Per micro-batch, over ``loss_steps``: an interruption leaves no trace in the curve."""
    loss_steps: int = 0
    """Steps since the last journal entry, without the skipped ones."""
    best_top1: float | None = None
    best_step: int | None = None
    top1: float | None = None
    """Of the evaluation at this step, if there was one."""


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, collective: Collective, keep_last: int):
        self._folder = folder
        self._collective = collective
        self._keep_last = keep_last
        self._saved_step: int | None = None

    def save(self, engine: Engine, progress: Progress) -> None:
        """Write one checkpoint, all ranks together; nothing older goes before it is whole."""
        if self._saved_step == progress.step:
            return
        world = self._collective.world
        final = self._folder / f"step-{progress.step:08d}"
        temporary = final.with_name(f"{final.name}.attempt-{world.attempt}{_TEMPORARY}")
        self._collective.on_main(lambda: _fresh_folder(temporary))
        mine = self._collect(engine)
        name = f"state-{world.rank:02d}.safetensors"
        self._collective.all_or_error(lambda: _write_tensors(temporary / name, mine))
        self._collective.on_main(lambda: self._commit(engine, progress, temporary, final))
        self._saved_step = progress.step

    def restore(self, engine: Engine, images: Tensor) -> Progress:
        """Load the newest whole checkpoint, if any; broken ones are named and skipped.

        images: (B, 3, H, W) of any content, for the optimizer's first step.
        """
        folder = self._collective.on_main(self._newest_whole)
        if folder is None:
            return Progress()
        progress = _read_progress(folder)
        engine.create_states(images)
        tensors = _open_tensors(folder)
        for name, parameter in engine.parameters():
            for what in (MASTER, *MOMENTS):
                engine.write(
                    parameter, what, tensors[f"{what}/{name}"].get_tensor(f"{what}/{name}")
                )
        with safe_open(folder / _BUFFERS, framework="pt") as file:
            for name, buffer in engine.module.named_buffers():
                buffer.copy_(file.get_tensor(name))
        engine.set_update_count(progress.updates)
        self._saved_step = progress.step
        return progress

    def _collect(self, engine: Engine) -> dict[str, Tensor]:
        """This rank's share of the state, about equal in bytes over the ranks."""
        loads = [0] * self._collective.world.size
        mine: dict[str, Tensor] = {}
        for name, parameter in engine.parameters():
            owner = loads.index(min(loads))
            for what in (MASTER, *MOMENTS):
                value = engine.read(parameter, what)
                loads[owner] += value.numel()
                if owner == self._collective.world.rank:
                    # NCHW contiguous: channels_last strides do not survive safetensors.
                    mine[f"{what}/{name}"] = (
                        value.detach().to("cpu", torch.float32).contiguous().clone()
                    )
        return mine

    def _commit(self, engine: Engine, progress: Progress, temporary: Path, final: Path) -> None:
        buffers = {name: b.detach().cpu().contiguous() for name, b in engine.module.named_buffers()}
        _write_tensors(temporary / _BUFFERS, buffers)
        write_file(temporary / _PROGRESS, json.dumps(asdict(progress), indent=1).encode())
        files = {
            file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)}
            for file in sorted(temporary.iterdir())
        }
        write_file(temporary / _COMMITTED, json.dumps(files, indent=1).encode())
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync_folder(self._folder)
        self._remove_old()

    def _remove_old(self) -> None:
        folders = self._all()
        scores = {folder: _read_progress(folder).top1 for folder in folders}
        # The first of equals, as in ``evaluated``.
        best = max(folders, key=lambda f: (scores[f] or 0.0, -folders.index(f)))
        for folder in folders[: -self._keep_last]:
            if folder != best:
                shutil.rmtree(folder)

    def _newest_whole(self) -> Path | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob(f"*{_TEMPORARY}"):
            shutil.rmtree(leftover)
        for folder in reversed(self._all()):
            problem = _problem(folder)
            if problem is None:
                return folder
            warn(f"checkpoint {folder} is skipped: {problem}")
        return None

    def _all(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("step-*") if path.suffix != _TEMPORARY)


def evaluated(progress: Progress, top1: float) -> Progress:
    """Note an evaluation's result; the first of equals stays the best."""
    is_best = progress.best_top1 is None or top1 > progress.best_top1
    progress = replace(progress, top1=top1)
    return replace(progress, best_top1=top1, best_step=progress.step) if is_best else progress


def _read_progress(folder: Path) -> Progress:
    facts = json.loads((folder / _PROGRESS).read_text())
    return Progress(**facts | {"loss_sums": tuple(facts["loss_sums"])})


def _problem(folder: Path) -> str | None:
    try:
        files = json.loads((folder / _COMMITTED).read_text())
    except FileNotFoundError:
        return f"{_COMMITTED} is missing"
    except ValueError:
        return f"{_COMMITTED} is damaged"
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts["bytes"]:
            return f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}"
        if _sha256(path) != facts["sha256"]:
            return f"{name} differs from its sha256"
    return None


def _open_tensors(folder: Path) -> dict[str, safe_open]:
    found = {}
    for path in sorted(folder.glob("state-*.safetensors")):
        file = safe_open(path, framework="pt")
        found |= dict.fromkeys(file.keys(), file)
    if not found:
        raise DataError(f"checkpoint {folder} holds no state; delete the folder to start earlier")
    return found


def _fresh_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file(dict(tensors), path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
