"""Evaluate a run or a file of weights on the validation split: scores, classes, confusions."""

import argparse
import json
from pathlib import Path

from pipeline.errors import UserError, run_cli
from pipeline.inference.trained import Trained, add_arguments, find_trained
from pipeline.log import info
from pipeline.shards import ShardSplit, open_split


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.evaluate", description=__doc__)
    parser.add_argument("model", metavar="RUN|FILE", help="a run, checkpoint, export, or weights")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--data", metavar="SHARDS", help="folder of shards (default: data.root)")
    add_arguments(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table of all classes")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_intermixed_args()
    if args.csv is not None and not args.csv.parent.is_dir():
        raise UserError(f"--csv {args.csv}: there is no folder {args.csv.parent}")
    trained = find_trained(args.model, args, args.overrides)
    if trained.run is None and args.data is None and args.config is None:
        raise UserError(f"{args.model} does not say where shards lie; name them with --data SHARDS")
    split = open_split(args.data or trained.config.data.root, trained.config.data.val_split)
    check_classes(trained, split)
    # Here, so that mistakes in the command answer at once.
    from pipeline.evaluate.evaluation import evaluate_model
    from pipeline.evaluate.tables import as_json, print_report, write_csv

    evaluation = evaluate_model(trained, split)
    if args.csv is not None:
        write_csv(args.csv, evaluation.classes)
        info(f"wrote {args.csv}")
    if args.json:
        print(json.dumps(as_json(trained, split, evaluation), allow_nan=False))
    else:
        print_report(trained, split, evaluation)
    return 0


def check_classes(trained: Trained, split: ShardSplit) -> None:
    """Raise UserError where the shards' classes are not the model's."""
    ours, theirs = trained.config.model.num_classes, split.classes
    if len(theirs) != ours:
        raise UserError(
            f"{split.root} has {len(theirs)} classes, the model ({trained.weights}) has "
            f"model.num_classes={ours}; name shards of its classes with --data SHARDS"
        )
    if trained.classes is None:
        return
    for label, (mine, other) in enumerate(zip(trained.classes, theirs, strict=True)):
        if mine != other:
            raise UserError(
                f"label {label} is {other!r} in {split.root}, but {mine!r} for the model "
                f"({trained.weights}); shard the images with its list: shard.py --classes LIST"
            )


if __name__ == "__main__":
    run_cli(main)
