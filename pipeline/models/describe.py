"""A config's model in figures: the stage table, parameters, multiply-adds, memory."""

from typing import Any

from pipeline.config import Config
from pipeline.models.cost import ACTIVATION_METHOD, Cost, activation_bytes, model_cost
from pipeline.models.stages import plan_stages
from pipeline.models.text_table import text_table

_COLUMNS = ("side", "token_mixer", "norm", "blocks", "dim", "parameters", "frozen")


def describe(config: Config) -> dict[str, Any]:
    """Plain values: ``parts`` (rows of the stage table), and the model's totals.

    Raises UserError where the model cannot be built or takes no images of this size.
    """
    cost = model_cost(config.model, config.augment.img_size)
    return {
        "model": config.model.name,
        "img_size": config.augment.img_size,
        "parts": _parts(config, cost.parts) or [_row(config.model.name, cost.total)],
        "trained_parameters": cost.total.trained,
        "frozen_parameters": cost.total.frozen,
        "macs": cost.total.macs,
        "micro_batch": config.train.micro_batch,
        "dtype": config.engine.dtype,
        "activation_bytes": activation_bytes(config),
        "activation_method": ACTIVATION_METHOD,
    }


def as_text(facts: dict[str, Any]) -> str:
    """The same for reading."""
    rows = facts["parts"]
    # timm's models are one row, of which most columns say nothing.
    columns = [name for name in _COLUMNS if any(row[name] is not None for row in rows)]
    cells = [
        (row["part"], *(_shown(row[name]) for name in columns), f"{row['macs'] / 1e9:.3f} G")
        for row in rows
    ]
    head = ["part", *(name.replace("_", " ") for name in columns), "MACs"]
    return (
        f"{text_table(head, cells)}\n\n"
        f"parameters   {facts['trained_parameters']:,} trained, "
        f"{facts['frozen_parameters']:,} frozen\n"
        f"MACs         {facts['macs'] / 1e9:.3f} G per image of {facts['img_size']} × "
        f"{facts['img_size']}: multiply-adds of convolutions and matrix products\n"
        f"activations  {facts['activation_bytes'] / 1e9:.2f} GB per micro-batch of "
        f"{facts['micro_batch']} in {facts['dtype']}: {facts['activation_method']}"
    )


def _parts(config: Config, costs: dict[str, Cost]) -> list[dict[str, Any]]:
    if not costs:
        return []
    own = config.model.metaformer
    rows = [_row("stem", costs["stem"])]
    for i, stage in enumerate(plan_stages(own, config.augment.img_size)):
        mixer = stage.token_mixer
        row = _row(f"stage {i + 1}", costs[f"stages.{i}"])
        row |= {
            "side": stage.side,
            "token_mixer": f"{mixer} {stage.pool_size}" if mixer == "pooling" else mixer,
            "norm": stage.norm,
            "blocks": stage.depth,
            "dim": stage.dim,
        }
        rows.append(row)
    return [*rows, _row("head", costs["head"])]


def _row(part: str, cost: Cost) -> dict[str, Any]:
    return {
        "part": part,
        "side": None,
        "token_mixer": None,
        "norm": None,
        "blocks": None,
        "dim": None,
        "parameters": cost.trained,
        "frozen": cost.frozen,
        "macs": cost.macs,
    }


def _shown(value: str | int | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value
