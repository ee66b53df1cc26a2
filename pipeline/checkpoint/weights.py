"""Weights of a model from wherever they lie: a run, a checkpoint, a folder for timm, a file."""

from pathlib import Path

from torch import Tensor

from pipeline.checkpoint import folder as on_disk
from pipeline.engine import AVERAGE, MASTER
from pipeline.errors import UserError
from pipeline.models.weights import read_weights

_WRAPPED = "net."
"""What our wrapper of a timm model adds to its names."""


def weights_from(path: Path, which: str = "best") -> dict[str, Tensor]:
    """A state dict, fp32 from checkpoints; the moving average of the weights where one is kept.

    which: best, last or a step, of a run's checkpoints. Raises UserError where nothing of the
    kind lies there, DataError where a checkpoint is damaged.
    """
    if (path / "checkpoints").is_dir():
        return _from_checkpoint(on_disk.find_checkpoint(path / "checkpoints", which))
    if (path / on_disk.COMMITTED).is_file():
        return _from_checkpoint(path)
    if path.is_dir():
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (path / name).is_file():
                return read_weights(path / name)
        raise UserError(f"{path}: neither a run, a checkpoint nor a folder with model.safetensors")
    return read_weights(path)


def _from_checkpoint(folder: Path) -> dict[str, Tensor]:
    # Frozen parameters have no average: it would be themselves.
    weights = on_disk.read_weights(folder, AVERAGE, MASTER)
    if all(name.startswith(_WRAPPED) for name in weights):
        return {name.removeprefix(_WRAPPED): tensor for name, tensor in weights.items()}
    return weights
