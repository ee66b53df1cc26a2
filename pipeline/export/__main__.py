"""Export a run's weights as config.json and model.safetensors, which timm loads, with a card."""

import argparse
import importlib.util
import json
from pathlib import Path

from pipeline.errors import UserError, run_cli
from pipeline.export.folder import check_free
from pipeline.inference.trained import Trained, add_arguments, find_trained
from pipeline.log import info

_BATCHES = "1,8,32,128"
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.export", description=__doc__)
    parser.add_argument("model", metavar="RUN|FILE", help="a run, checkpoint, or weights")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    add_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/export")
    parser.add_argument("--force", action="store_true", help="replace an existing export")
    parser.add_argument("--onnx", action="store_true", help="write model.onnx, checked")
    parser.add_argument("--bench", action="store_true", help="time it by batch size")
    parser.add_argument(
        "--batches", default=_BATCHES, metavar="N,...", help="of --bench (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_intermixed_args()
    batches = parse_batches(args.batches)
    if args.onnx:
        require_onnx()
    trained = find_trained(args.model, args, args.overrides)
    out = out_folder(args.out, trained)
    check_free(out, args.force)
    # Here, so that mistakes in the command answer at once.
    from pipeline.export.exporting import Wishes, export

    made = export(trained, out, Wishes(args.onnx, batches if args.bench else ()))
    if args.json:
        print(json.dumps(made.as_json()))
        return 0
    for line in made.lines():
        info(line)
    if made.speeds:
        print(made.speed_table(), end="")
    return 0


def parse_batches(text: str) -> tuple[int, ...]:
    """``1,8`` to numbers. Raises UserError."""
    words = text.split(",")
    if not all(word.isdigit() and int(word) for word in words):
        raise UserError(f"--batches {text}: write numbers of images such as {_BATCHES}")
    return tuple(int(word) for word in words)


def require_onnx() -> None:
    """Raise UserError where the packages of the extra are not installed."""
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--onnx needs {', '.join(missing)}; install with `pip install '.[export]'`"
        )


def out_folder(out: Path | None, trained: Trained) -> Path:
    """Where to write. Raises UserError where only the user can say."""
    if out is not None:
        return out
    if trained.run is None:
        raise UserError(f"--out is needed: {trained.weights} belongs to no run")
    return trained.run.export


if __name__ == "__main__":
    run_cli(main)
