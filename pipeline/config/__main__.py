"""Print a resolved config, each setting with where its value came from."""

import argparse
import json

from pipeline.config.flatten import dotted
from pipeline.config.load import BASE_HELP, load, show
from pipeline.errors import run_cli


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.config", description=__doc__)
    parser.add_argument("file", help="config file, such as configs/m48.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--base", metavar="FILE", help=BASE_HELP)
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_args()
    loaded = load(args.file, args.overrides, args.base)
    settings = dotted(loaded.config)
    if args.json:
        rows = {
            key: {"value": value, "from": loaded.places[key]} for key, value in settings.items()
        }
        print(json.dumps(rows, indent=2))
        return 0
    rows = [(f"{key}: {show(value)}", loaded.places[key]) for key, value in settings.items()]
    width = max(len(text) for text, _ in rows)
    for text, place in rows:
        print(f"{text:<{width}}  # {place}")
    return 0


if __name__ == "__main__":
    run_cli(main)
