"""Print the five most likely classes of image files; --cam draws where the model sees the first."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import run_cli
from pipeline.inference.trained import add_arguments, find_trained
from pipeline.log import info, warn

_SETTING = re.compile(r"[a-z_]+(\.[a-z_0-9]+)*=")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict", description=__doc__)
    parser.add_argument("model", metavar="RUN|FILE", help="a run, checkpoint, export, or weights")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG, PNG or WebP")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings, among the images"
    )
    add_arguments(parser)
    parser.add_argument("--cam", type=Path, metavar="PNG|DIR", help="write Grad-CAM pictures")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_intermixed_args()
    images, overrides = sort_words([*args.images, *args.overrides])
    if not images:
        parser.error("no IMAGE is named")
    trained = find_trained(args.model, args, overrides)
    # Here, so that mistakes in the command answer at once.
    from pipeline.predict.picture import picture_paths
    from pipeline.predict.predicting import draw_cams, predict

    pictures = [] if args.cam is None else picture_paths(args.cam, images)
    if trained.classes is None:
        warn("the names of the classes are not known; labels are shown")
    model, shown, answers = predict(trained, images)
    if args.json:
        print(json.dumps([answer.as_json() for answer in answers]))
    else:
        print("\n".join(answer.text() for answer in answers))
    if pictures:
        draw_cams(model, trained.config, shown, answers, pictures)
        info(f"wrote {len(pictures)} picture(s): {args.cam}")
    return 0


def sort_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Images, and settings as ``section.key=value``; a file of such a name is an image."""
    settings = [w for w in words if _SETTING.match(w) and not Path(w).exists()]
    return [Path(w) for w in words if w not in settings], settings


if __name__ == "__main__":
    run_cli(main)
