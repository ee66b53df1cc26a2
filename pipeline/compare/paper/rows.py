"""The rows of each table: what the paper has there, and what a run of it is set to."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.compare.paper.matching import trained_settings
from pipeline.config import Config, load
from pipeline.errors import UserError
from pipeline.paper import Figures, FollowUp, Model, Peer

_CONFIGS = Path(__file__).resolve().parents[3] / "configs"
_RECIPE, _LONGER = "base.yaml", "s12.yaml"


@dataclass(frozen=True)
class PaperRow:
    """A row as the paper prints it; ``config`` is None where no config of ours builds it."""

    name: str
    parameters_m: float
    frozen_m: float | None
    macs_g: float
    top1: float
    config: Config | None
    note: str | None = None

    @functools.cached_property
    def settings(self) -> dict[str, str]:
        """What a run must be set to, by dotted key."""
        return {} if self.config is None else trained_settings(self.config)


@dataclass(frozen=True)
class Table:
    """A table that runs of this project can fill."""

    title: str
    rows: Callable[[Figures, Path | None], list[PaperRow]]
    has_baseline: bool = False
    """Its first row is what the others are held against."""


def _of_configs(
    models: Callable[[Figures], Sequence[Model]], paper: Figures, base: Path | None
) -> list[PaperRow]:
    return [
        _model_row(model, load(_config(model.config), base=base).config) for model in models(paper)
    ]


def _model_row(model: Model, config: Config) -> PaperRow:
    return PaperRow(
        model.name, model.parameters_m, model.frozen_m, model.macs_g, model.top1, config
    )


def _table2(paper: Figures, base: Path | None) -> list[PaperRow]:
    own = _of_configs(lambda figures: figures.sizes, paper, base)
    return [*(_peer_row(peer, base) for peer in paper.peers), *own]


def _peer_row(peer: Peer, base: Path | None) -> PaperRow:
    """A peer's runs are those of timm's model with the paper's recipe and nothing else changed."""
    config, note = None, peer.note
    if peer.timm is None:
        note = f"timm lacks it; {note}" if note else "timm lacks it"
    else:
        config = load(base or _config(_RECIPE), [f"model.name={peer.timm}"]).config
    return PaperRow(peer.name, peer.parameters_m, None, peer.macs_g, peer.top1, config, note)


def _table7(paper: Figures, base: Path | None) -> list[PaperRow]:
    s12 = next(model for model in paper.sizes if model.config == _LONGER)
    return [
        PaperRow(
            f"{epochs} epochs",
            s12.parameters_m,
            None,
            s12.macs_g,
            top1,
            load(base or _config(_LONGER), [f"train.epochs={epochs}"]).config,
        )
        for epochs, top1 in paper.longer_training.items()
    ]


def _follow_up(paper: Figures, base: Path | None) -> list[PaperRow]:
    def row(model: FollowUp) -> PaperRow:
        words = [
            f"model.name={model.name}",
            f"model.drop_path={model.drop_path}",
            f"evaluate.crop_pct={paper.follow_up_crop_pct}",
        ]
        config = load(base or _config(_RECIPE), words).config
        frozen_m = model.frozen_m or None
        return PaperRow(model.name, model.parameters_m, frozen_m, model.macs_g, model.top1, config)

    return [row(model) for model in paper.follow_up]


def _config(name: str) -> Path:
    path = _CONFIGS / name
    if not path.is_file():
        raise UserError(f"{path}: no such file; the paper's tables need a checkout with configs/")
    return path


TABLES = {
    "table1": Table(
        "Table 1: the sizes of PoolFormer", partial(_of_configs, lambda figures: figures.sizes)
    ),
    "table2": Table("Table 2: PoolFormer and its peers", _table2),
    "table5": Table(
        "Table 5: ablations of PoolFormer-S12",
        partial(_of_configs, lambda figures: figures.ablations),
        has_baseline=True,
    ),
    "table7": Table("Table 7: PoolFormer-S12 trained longer", _table7),
    "follow_up": Table(
        "MetaFormer Baselines: IdentityFormer, RandFormer, PoolFormerV2", _follow_up
    ),
}
"""By the name that --paper takes."""
WITHOUT_RUNS = {
    "table3": "object detection on COCO is not what this project trains",
    "table4": "segmentation of ADE20K is not what this project trains",
    "table6": "it is the recipe, which `python -m pipeline.models --check` holds against configs/",
}
"""Tables of the paper that no run can fill, and why."""
