"""A model's answers for image files."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Config
from pipeline.data.mix import DTYPES, Normaliser
from pipeline.device import open_device
from pipeline.errors import UserError
from pipeline.inference.model import load_model, logits_of, ready
from pipeline.inference.trained import Trained
from pipeline.models.build import TimmModel
from pipeline.models.imagenet import descriptions
from pipeline.models.metaformer import MetaFormer
from pipeline.predict.cam import grad_cam
from pipeline.predict.images import read_square
from pipeline.predict.picture import cam_picture
from pipeline.world import World

_TOP = 5


@dataclass(frozen=True)
class Guess:
    """A class that an image may be of."""

    label: int
    name: str | None
    """As the shards call it; None where that is not known."""
    description: str | None
    """What people call it, of ImageNet's classes."""
    probability: float

    def text(self) -> str:
        """``86.3 %  tench, Tinca tinca (n01440764)``."""
        name = self.name or f"label {self.label}"
        shown = name if self.description is None else f"{self.description} ({name})"
        return f"{100 * self.probability:5.1f} %  {shown}"


@dataclass(frozen=True)
class Answer:
    """The most likely classes of one image, the likeliest first."""

    image: Path
    guesses: tuple[Guess, ...]

    def text(self) -> str:
        """The image and a line per class."""
        return "\n".join([f"{self.image}", *(f"  {guess.text()}" for guess in self.guesses)])

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {"image": str(self.image), "top": [asdict(guess) for guess in self.guesses]}


def predict(
    trained: Trained, paths: Sequence[Path]
) -> tuple[MetaFormer | TimmModel, list[NDArray[np.uint8]], list[Answer]]:
    """The model on its device, what it was shown of each image, and its answers.

    Raises UserError for a file that is no image and for foreign weights, PreflightError.
    """
    config = trained.config
    squares = [read_square(path, config) for path in paths]
    device = open_device(config, World())
    model = load_model(trained)
    ready(model, config, device)
    logits = torch.cat([logits_of(model, images) for images in _batches(squares, config, device)])
    probabilities, labels = logits.softmax(1).cpu().topk(min(_TOP, logits.shape[1]))
    known = descriptions(trained.classes or [])

    def guess(label: int, probability: float) -> Guess:
        name = None if trained.classes is None else trained.classes[label]
        return Guess(label, name, None if name is None else known.get(name), probability)

    answers = [
        Answer(path, tuple(map(guess, *row)))
        for path, *row in zip(paths, labels.tolist(), probabilities.tolist(), strict=True)
    ]
    return model, squares, answers


def draw_cams(
    model: MetaFormer | TimmModel,
    config: Config,
    squares: Sequence[NDArray[np.uint8]],
    answers: Sequence[Answer],
    pictures: Sequence[Path],
) -> None:
    """Write one picture per answer, of its likeliest class. Raises UserError."""
    device = next(model.parameters()).device
    for square, answer, path in zip(squares, answers, pictures, strict=True):
        (images,) = _batches([square], config, device)
        label = torch.tensor([answer.guesses[0].label], device=device)
        cam = grad_cam(model, images, label)[0].cpu().numpy()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            cam_picture(square, cam).save(path)
        except (OSError, ValueError) as error:
            raise UserError(f"--cam {path}: {error}") from None


def _batches(
    squares: Sequence[NDArray[np.uint8]], config: Config, device: torch.device
) -> Iterator[Tensor]:
    normalised = Normaliser(config.augment, device, DTYPES[config.engine.dtype])
    size = config.evaluate.batch_size
    for start in range(0, len(squares), size):
        pixels = np.stack(squares[start : start + size])
        yield normalised(torch.from_numpy(pixels).to(device))
