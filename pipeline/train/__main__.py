"""Train in this process; the newest checkpoint of the run is resumed."""

import argparse
import shlex

from pipeline.config import load
from pipeline.errors import run_cli
from pipeline.preempt import StopRequest
from pipeline.world import from_environment


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.train", description=__doc__)
    parser.add_argument("config", help="config file, such as configs/digits.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    args = parser.parse_args()
    stop = StopRequest().install()
    config = load(args.config, args.overrides).config
    command = shlex.join(["python", "-m", "pipeline.train", args.config, *args.overrides])
    # Here, so that --help and mistakes in the config answer at once.
    from pipeline.train.loop import train

    facts = {"launch_command": command}
    result = train(config, from_environment(), stop, command, facts)
    return 0 if result.is_complete else stop.exit_code


if __name__ == "__main__":
    run_cli(main)
