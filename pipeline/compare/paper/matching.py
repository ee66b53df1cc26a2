"""Which runs belong to a row: those that are set to train the same, whatever their names.

Of a run's settings those count that say what is trained: all but the seed and what the schema
marks ``Free`` or ``Manner``. A setting that is younger than the run has its default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.compare.reading.load import default_settings
from pipeline.compare.run import Run
from pipeline.config import Config, dotted
from pipeline.config.flatten import free_settings, manner_settings
from pipeline.config.load import show

NEAR_SETTINGS = 3
"""A run that differs in more from every row is near none of them."""
_SEED, _MODEL, _OWN_MODEL = "seed", "model.name", "metaformer"
_OWN_MODEL_SECTION = "model.metaformer."
_PER_STAGE = tuple(_OWN_MODEL_SECTION + key for key in ("token_mixers", "pool_size", "norm"))
_EPOCH_IMAGES = "images of an epoch"
_IMAGES_TOLERANCE = 0.01
"""Some images may be quarantined or their last batch be dropped otherwise."""


class Departure(NamedTuple):
    """A setting, by dotted key, in which a run differs from a row."""

    key: str
    run: str
    row: str

    def __str__(self) -> str:
        return f"{self.key} {self.run} (row: {self.row})"


def trained_settings(config: Config) -> dict[str, str]:
    """What the config trains: texts by dotted key, the seed left out."""
    return _trained({key: show(value) for key, value in dotted(config).items()})


@dataclass(frozen=True)
class Trained:
    """A run with the settings that say what it trained."""

    run: Run
    settings: dict[str, str]

    @classmethod
    def of(cls, run: Run) -> "Trained":
        return cls(run, _trained(run.settings))


def departures(
    trained: Trained, row: Mapping[str, str], train_images: int | None
) -> list[Departure]:
    """In what the run does not train what the row's settings say; empty where it belongs there.

    train_images: those of the row's data, None for any.
    """
    ours = trained.settings
    found = [
        Departure(key, ours.get(key, "unknown"), row.get(key, "unknown"))
        for key in dict.fromkeys([*row, *ours])
        if ours.get(key) != row.get(key)
    ]
    return found + _data_departure(trained.run, row, train_images)


def manner(run: Run, config: Config) -> dict[str, tuple[str, str]]:
    """How the run computes what another config says: ``{key: (the run's, the config's)}``."""
    theirs = {key: show(value) for key, value in dotted(config).items()}
    ours = {**default_settings(), **run.settings}
    texts = {key: ours[key] for key in sorted(manner_settings())}
    return {key: (text, theirs[key]) for key, text in texts.items() if text != theirs[key]}


def _trained(settings: Mapping[str, str]) -> dict[str, str]:
    known = {**default_settings(), **settings}
    ignored = free_settings() | manner_settings() | {_SEED}
    is_own = known[_MODEL] == _OWN_MODEL
    return {
        key: _one_value(text) if key in _PER_STAGE else text
        for key, text in known.items()
        if key not in ignored and (is_own or not key.startswith(_OWN_MODEL_SECTION))
    }


def _one_value(text: str) -> str:
    """A list with the same value for each stage is that value."""
    items = {item.strip() for item in text.strip("[]").split(",")}
    return items.pop() if len(items) == 1 else text


def _data_departure(run: Run, row: Mapping[str, str], train_images: int | None) -> list[Departure]:
    if train_images is None or not run.epochs or run.images is None:
        return []
    batch = int(row["train.global_batch"])
    wanted, seen = train_images // batch * batch, run.images / run.epochs
    if abs(seen - wanted) <= _IMAGES_TOLERANCE * wanted:
        return []
    return [Departure(_EPOCH_IMAGES, f"{seen:,.0f}", f"{wanted:,}")]
