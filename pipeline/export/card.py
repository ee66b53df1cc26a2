"""The model card of an export: README.md in the Hugging Face hub's form. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config, dotted
from pipeline.config.load import show
from pipeline.export.record import Record

_RECIPE = ("seed", "augment.", "evaluate.", "model.", "optim.", "train.", "engine.dtype")
_VERSIONS = {
    "torch_version": "torch",
    "timm_version": "timm",
    "deepspeed_version": "DeepSpeed",
    "git_commit": "commit",
}

HEAD_DIFFERS = """\
## timm's head is not quite this model's

The weights were trained with the paper's head (arXiv 2111.11418): a norm of the whole map over
C, H and W (eps 1e-5), then the mean over H and W. timm's {architecture} takes the mean first and
then norms over C (eps 1e-6). The features before the head are the same; logits and loss are not,
and top-1 may differ a little (for the paper's own weights by 0.02 points at most).
"""

_FRONT_MATTER = """\
---
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- timm
---
"""


@dataclass(frozen=True)
class Card:
    """All that a card says."""

    config: Config
    parameters: int
    architecture: str | None
    """timm's name of it, None where it has none."""
    step: int | None
    """Of the checkpoint; None where the weights come from no run."""
    is_average: bool
    """The weights are a moving average."""
    record: Record
    onnx_difference: float | None
    speeds: Sequence[tuple[int, float, float]]
    """Batch, milliseconds, images per second."""
    machine: str


def model_card(card: Card) -> str:
    """The text of README.md."""
    parts = [_summary(card), _loading(card)]
    if card.architecture is not None and card.config.model.name == "metaformer":
        parts.append(HEAD_DIFFERS.format(architecture=card.architecture))
    parts.append(_training(card))
    if card.speeds:
        parts.append(speed_table(card.machine, card.speeds))
    return _FRONT_MATTER + "\n".join(parts)


def speed_table(machine: str, speeds: Iterable[tuple[int, float, float]]) -> str:
    """Latency and throughput by batch size, in Markdown."""
    lines = [
        "## Speed\n",
        f"The model alone on {machine}; medians.\n",
        "| images per batch | ms per batch | images/s |",
        "| ---: | ---: | ---: |",
    ]
    lines += [f"| {batch} | {ms:.2f} | {rate:,.1f} |" for batch, ms, rate in speeds]
    return "\n".join(lines) + "\n"


def _summary(card: Card) -> str:
    config = card.config
    rows = {
        "parameters": f"{card.parameters:,}",
        "images": f"{config.augment.img_size} × {config.augment.img_size}, crop_pct "
        f"{config.evaluate.crop_pct:g}, {config.evaluate.interpolation}",
        "classes": f"{config.model.num_classes:,}",
    } | _results(card)
    table = "".join(f"| {name} | {text} |\n" for name, text in rows.items())
    return f"# {config.name}\n\n| {config.model.name} | |\n| --- | --- |\n{table}"


def _results(card: Card) -> dict[str, str]:
    metrics = card.record.metrics
    names = (
        {"top-1": "val/ema_top1", "loss": "val/ema_loss"}
        if card.is_average
        else {"top-1": "val/top1", "top-5": "val/top5", "loss": "val/loss"}
    )
    found = {
        f"validation {name}": f"{metrics[key]:.4f}" if name == "loss" else f"{metrics[key]:.2f} %"
        for name, key in names.items()
        if key in metrics
    }
    return found or {"validation": "not evaluated at this step"}


def _loading(card: Card) -> str:
    ours = "```console\n$ python -m pipeline.predict THIS_FOLDER IMAGE...\n```\n"
    if card.architecture is None:
        how = f"timm has no such model; the pipeline that trained it has:\n\n{ours}"
    else:
        how = f"""```python
import timm

model = timm.create_model("local-dir:THIS_FOLDER", pretrained=True).eval()
settings = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**settings, is_training=False)
```

Or `timm.create_model("{card.architecture}", num_classes={card.config.model.num_classes}, \
checkpoint_path="THIS_FOLDER/model.safetensors")`, or with the pipeline that trained it

{ours}"""
    if card.onnx_difference is not None:
        side = card.config.augment.img_size
        how += (
            f"\n`model.onnx` takes `images`, normalised (batch, 3, {side}, {side}), and gives "
            f"`logits`. They differ from torch's by {card.onnx_difference:.0e} of the largest.\n"
        )
    return f"## Use\n\n{how}"


def _training(card: Card) -> str:
    record = card.record
    facts: dict[str, str] = {}
    if card.step is not None:
        facts["steps"] = f"{card.step:,}"
    if "progress/epoch" in record.metrics:
        facts["epochs"] = f"{record.metrics['progress/epoch']:g}"
    if card.is_average:
        facts["weights"] = "moving average"
    facts |= {f"shards {name}": f"sha256 {digest}" for name, digest in record.datasets.items()}
    if "world_size" in record.tags:
        facts["ranks"] = record.tags["world_size"]
    facts |= {name: record.tags[tag] for tag, name in _VERSIONS.items() if tag in record.tags}
    if record.tags.get("git_dirty") == "true":
        facts["commit"] += " with changes"
    rows = "".join(f"- {name}: {text}\n" for name, text in facts.items())
    return f"## Training\n\n{rows}\n```yaml\n{_recipe(card.config)}```\n"


def _recipe(config: Config) -> str:
    lines: list[str] = []
    for key, value in dotted(config).items():
        is_read = config.model.name == "metaformer" or not key.startswith("model.metaformer.")
        if key.startswith(_RECIPE) and is_read:
            if key == "model.init_from" and value is not None:
                value = Path(value).name  # where somebody keeps it is nobody else's concern
            lines.append(f"{key}: {show(value)}\n")
    return "".join(lines)
