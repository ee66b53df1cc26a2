"""Puts an export together and moves it into place."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.device import open_device
from pipeline.errors import UserError
from pipeline.export.card import Card, model_card, speed_table
from pipeline.export.folder import new_folder
from pipeline.export.onnx_file import write_onnx
from pipeline.export.record import Record, read_record
from pipeline.export.speed import Speed, machine, measure
from pipeline.inference.hub_config import OWN_SETTINGS, own_settings
from pipeline.inference.model import load_model, ready
from pipeline.inference.trained import Trained
from pipeline.log import warn
from pipeline.models.hub import write_hub_folder
from pipeline.models.imagenet import descriptions
from pipeline.models.names import timm_architecture
from pipeline.world import World


@dataclass(frozen=True)
class Wishes:
    """What is wanted beside the weights."""

    onnx: bool
    batches: tuple[int, ...]
    """Batch sizes to time; none without."""


@dataclass(frozen=True)
class Made:
    """What an export has written."""

    folder: Path
    weights: Path
    step: int | None
    architecture: str | None
    parameters: int
    files: dict[str, int]
    """Bytes by name."""
    onnx_difference: float | None
    speeds: list[Speed]
    machine: str

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return asdict(self) | {"folder": str(self.folder), "weights": str(self.weights)}

    def lines(self) -> list[str]:
        """For the person watching."""
        listed = ", ".join(
            f"{name} ({max(1, round(size / 1000)):,} kB)" for name, size in self.files.items()
        )
        lines = [f"wrote {self.folder} from {self.weights}: {listed}"]
        if self.onnx_difference is not None:
            lines.append(
                f"model.onnx differs from torch by {self.onnx_difference:.1e} of the largest logit"
            )
        if self.architecture is None:
            lines.append(
                f"timm lacks this model; python -m pipeline.predict {self.folder} IMAGE... takes it"
            )
        else:
            lines.append(f'timm.create_model("local-dir:{self.folder}", pretrained=True)')
        return lines

    def speed_table(self) -> str:
        """Markdown."""
        rows = [(speed.batch, speed.ms, speed.images_per_s) for speed in self.speeds]
        return speed_table(self.machine, rows)


def export(trained: Trained, out: Path, wishes: Wishes) -> Made:
    """Write the folder; ``out`` is as it was until all of it is there.

    Raises UserError where the weights are another model's or ``out`` cannot be written,
    PreflightError where the device is missing, PipelineError where ONNX computes other logits.
    """
    config = trained.config
    # Only timing has a use for it.
    device = open_device(config, World()) if wishes.batches else None
    if trained.classes is None:
        warn(f"data.root={config.data.root}: no shards of its classes there: no class names")
    model = load_model(trained)
    try:
        with new_folder(out) as folder:
            write_hub_folder(folder, model, config, _about(trained))
            difference = None
            if wishes.onnx:
                difference = write_onnx(folder / "model.onnx", model, config.augment.img_size)
            speeds: list[Speed] = []
            where = ""
            if device is not None:
                speeds = measure(ready(model, config, device), config, device, wishes.batches)
                where = machine(config, device)
            step = None if trained.progress is None else trained.progress.step
            made = Made(
                folder=out,
                weights=trained.weights,
                step=step,
                architecture=timm_architecture(config.model),
                parameters=sum(parameter.numel() for parameter in model.parameters()),
                files={},
                onnx_difference=difference,
                speeds=speeds,
                machine=where,
            )
            (folder / "README.md").write_text(model_card(_card(trained, made)))
            for file in sorted(folder.iterdir()):
                made.files[file.name] = file.stat().st_size
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}") from None
    return made


def _about(trained: Trained) -> dict[str, Any]:
    about: dict[str, Any] = {OWN_SETTINGS: own_settings(trained.config)}
    if trained.classes is not None:
        about["label_names"] = trained.classes
        known = descriptions(trained.classes)
        if known:
            about["label_descriptions"] = known
    return about


def _card(trained: Trained, made: Made) -> Card:
    record = Record()
    if trained.run is not None and made.step is not None:
        record = read_record(trained.run, made.step)
    return Card(
        config=trained.config,
        parameters=made.parameters,
        architecture=made.architecture,
        step=made.step,
        is_average=trained.is_average,
        record=record,
        onnx_difference=made.onnx_difference,
        speeds=[(speed.batch, speed.ms, speed.images_per_s) for speed in made.speeds],
        machine=made.machine,
    )
