"""What RUN or FILE on a command line means: a model's settings, weights and class names."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Config, Loaded, load
from pipeline.config.load import COMMAND_LINE, load_settings
from pipeline.errors import UserError
from pipeline.inference.hub_config import CONFIG, hub_classes, hub_settings, read_hub_config
from pipeline.log import info
from pipeline.shards import MANIFEST, read_manifest
from pipeline.tracking.run_folder import RunFolder, resolve_run

if TYPE_CHECKING:
    from pipeline.checkpoint import Progress

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".tar")
_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Trained:
    """A trained model as it lies on disk."""

    config: Config
    weights: Path
    """A checkpoint, a folder of timm's form, or a file of weights."""
    run: RunFolder | None
    """Where it was trained; then ``weights`` is one of its checkpoints."""
    classes: list[str] | None
    """Class names by label, where they are known."""

    @property
    def progress(self) -> "Progress | None":
        """How far the run was at this checkpoint."""
        from pipeline.checkpoint.folder import read_progress

        return None if self.run is None else read_progress(self.weights)

    @property
    def is_average(self) -> bool:
        """The weights are those of the moving average that the run has kept."""
        return self.run is not None and self.config.optim.model_ema_decay is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say which model is meant."""
    parser.add_argument("--config", metavar="FILE", help="settings of a bare file of weights")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", help="of a run: best (default), last, STEP"
    )
    parser.add_argument("--runs-root", default="runs", help="default: %(default)s")


def find_trained(model: str, args: argparse.Namespace, overrides: Sequence[str]) -> Trained:
    """The model of that name or path; ``args`` holds the flags of ``add_arguments``.

    Raises UserError where there is none, with near names, or no settings belong to it.
    """
    path = Path(model)
    if path.is_dir() and path.parent.name == "checkpoints":
        _refuse_which(args.checkpoint, path)
        return _of_checkpoint(RunFolder(path.parents[1]), path, args.config, overrides)
    if path.is_file() or (path.is_dir() and any((path / name).is_file() for name in _FILES)):
        _refuse_which(args.checkpoint, path)
        return _of_file(path, args.config, overrides)
    if (path / CONFIG).is_file():
        raise UserError(f"{path}: there is a {CONFIG}, but no {' or '.join(_FILES)}; copy it there")
    if path.suffix in _WEIGHTS:
        raise UserError(f"{path}: no such file; name a run, an exported folder or a weights file")
    run = RunFolder(resolve_run(model, args.runs_root))
    from pipeline.checkpoint.folder import find_checkpoint

    checkpoint = find_checkpoint(run.checkpoints, args.checkpoint or "best")
    return _of_checkpoint(run, checkpoint, args.config, overrides)


def _of_checkpoint(
    run: RunFolder, checkpoint: Path, config_file: str | None, overrides: Sequence[str]
) -> Trained:
    if config_file is None and not run.config.is_file():
        raise UserError(f"{run.config} is missing; name the settings with --config FILE")
    config = _for_device(load(config_file or run.config, overrides))
    return Trained(config, checkpoint, run, _classes_of_shards(config))


def _of_file(path: Path, config_file: str | None, overrides: Sequence[str]) -> Trained:
    if config_file is not None:
        config = _for_device(load(config_file, overrides))
        return Trained(config, path, None, _classes_of_shards(config))
    beside = (path if path.is_dir() else path.parent) / CONFIG
    if not beside.is_file():
        raise UserError(
            f"{path}: no {CONFIG} beside it says what model it is; name its settings with "
            "--config FILE, such as configs/s12.yaml"
        )
    hub = read_hub_config(beside)
    config = _for_device(load_settings(hub_settings(hub), str(beside), overrides))
    return Trained(config, path, None, hub_classes(hub))


def _for_device(loaded: Loaded) -> Config:
    """The config, on a CPU without a GPU's kernels unless they are asked for here and now."""
    config = loaded.config
    is_asked_for = loaded.places["model.kernels"] == COMMAND_LINE
    if config.device == "cuda" or config.model.kernels != "triton" or is_asked_for:
        return config
    info("model.kernels=triton is torch on a CPU: figures differ by rounding")
    model = config.model.model_copy(update={"kernels": "torch"})
    return config.model_copy(update={"model": model})


def _classes_of_shards(config: Config) -> list[str] | None:
    """Their names, where the shards lie at data.root and have as many classes as the model."""
    root = Path(config.data.root)
    if not (root / MANIFEST).is_file():
        return None
    classes = read_manifest(root).classes
    return classes if len(classes) == config.model.num_classes else None


def _refuse_which(which: str | None, path: Path) -> None:
    if which is not None:
        raise UserError(f"--checkpoint {which}: {path} is no run with several; leave it out")
