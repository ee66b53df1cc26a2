"""Draw a training batch as the model gets it: images, labels, and the share of each label."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.config import Config, load
from pipeline.errors import UserError, run_cli
from pipeline.log import info
from pipeline.world import World

if TYPE_CHECKING:
    from pipeline.data.augment.mixing import Mix
    from pipeline.data.batches import MicroBatch

SHOWN_IMAGES = 32
_MARGIN, _LINE, _FONT_PX = 8, 18, 14


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.data.show", description=__doc__)
    parser.add_argument("config", help="config file, such as configs/s12.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--out", type=Path, default=Path("batch.png"), help="(default batch.png)")
    parser.add_argument("--step", type=int, default=0, help="optimizer step (default 0)")
    parser.add_argument("--micro-batch", type=int, default=0, help="its number in the step")
    parser.add_argument(
        "--images", type=int, default=SHOWN_IMAGES, help="at most so many (default %(default)s)"
    )
    args = parser.parse_intermixed_args()
    config = load(args.config, args.overrides).config
    if args.images < 1:
        raise UserError(f"--images {args.images} must be at least 1")
    if not args.out.parent.is_dir():
        raise UserError(f"--out {args.out}: there is no folder {args.out.parent}")
    batch, classes = _load(config, args.step, args.micro_batch)
    title, sheet = draw_batch(config, args.step, batch, classes, args.images)
    try:
        sheet.save(args.out)
    except (OSError, ValueError) as error:
        raise UserError(f"--out {args.out}: {error}") from None
    info(f"{title}\nwrote {args.out}")
    return 0


def draw_batch(
    config: Config, step: int, batch: "MicroBatch", classes: Sequence[str], most_images: int
) -> tuple[str, Image.Image]:
    """A title that says what was mixed, and the sheet of the first images of a micro-batch."""
    from pipeline.data.augment.mixing import draw_mix

    mix = draw_mix(config.augment, config.seed, step, batch.index)
    title = f"{config.name}, step {step}, micro-batch {batch.index}: {describe(mix)}"
    shown = replace(batch, images=batch.images[:most_images], targets=batch.targets[:most_images])
    captions = [caption(row, classes) for row in shares(shown, len(classes))]
    return title, draw_grid(to_pixels(config, shown), captions, title)


def describe(mix: "Mix | None") -> str:
    """What was mixed, in words."""
    if mix is None:
        return "not mixed"
    if mix.box is None:
        return f"mixup, lambda {mix.lam:.3f}"
    top, left, bottom, right = mix.box
    return f"cutmix, lambda {mix.lam:.3f}, rows {top}-{bottom}, columns {left}-{right}"


def shares(batch: "MicroBatch", classes: int) -> NDArray[np.float64]:
    """(B, classes) share of each label in each image."""
    targets = batch.targets.cpu().double().numpy()
    if targets.ndim > 1:
        return targets
    rows = np.zeros((len(targets), classes))
    rows[np.arange(len(targets)), targets.astype(np.int64)] = 1
    return rows


def caption(row: NDArray[np.float64], classes: Sequence[str]) -> str:
    """The labels of an image, the largest share first. row: (classes,)."""
    order = [i for i in np.argsort(-row).tolist() if row[i] > 0]
    if len(order) == 1:
        return str(classes[order[0]])
    return " + ".join(f"{classes[i]} {row[i]:.2f}" for i in order)


def to_pixels(config: Config, batch: "MicroBatch") -> NDArray[np.uint8]:
    """(B, img_size, img_size, 3): the normalisation undone; noise is cut at black and white."""
    mean, std = np.array(config.augment.mean), np.array(config.augment.std)
    images = batch.images.float().cpu().permute(0, 2, 3, 1).numpy()
    return np.rint(255 * np.clip(images * std + mean, 0, 1)).astype(np.uint8)


def draw_grid(pixels: NDArray[np.uint8], captions: Sequence[str], title: str) -> Image.Image:
    """pixels: (N, side, side, 3). Captions beyond N are not drawn."""
    count, side = len(pixels), pixels.shape[1]
    font = ImageFont.load_default(size=_FONT_PX)
    longest = max(font.getlength(text) for text in captions[:count])
    width = max(side, int(longest)) + _MARGIN
    columns = max(1, min(count, round(np.sqrt(count * (side + _LINE) / width * 1.6))))
    rows = -(-count // columns)
    height = side + _LINE + _MARGIN
    whole = max(columns * width, int(font.getlength(title))) + _MARGIN
    sheet = Image.new("RGB", (whole, rows * height + _LINE + 2 * _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN // 2), title, "black", font)
    for number, (image, text) in enumerate(zip(pixels, captions, strict=False)):
        x = _MARGIN + number % columns * width
        y = _LINE + _MARGIN + number // columns * height
        sheet.paste(Image.fromarray(image), (x, y))
        draw.text((x, y + side), text, "black", font)
    return sheet


def _load(config: Config, step: int, index: int) -> "tuple[MicroBatch, list[str]]":
    from pipeline.data.loader import Loader
    from pipeline.device import open_device
    from pipeline.plan import make_plan, open_splits

    train, val = open_splits(config)
    plan = make_plan(config, 1, len(train), len(val))
    for flag, value, count in (
        ("--step", step, plan.total_steps),
        ("--micro-batch", index, plan.micro_batches),
    ):
        if not 0 <= value < count:
            raise UserError(f"{flag} {value}: there are {count}, counted from 0")
    device = open_device(config, World())
    loader = Loader(config, plan, 0, device, train, val, np.zeros(0))
    return next(loader.steps(step)).slots[index], train.classes


if __name__ == "__main__":
    run_cli(main)
