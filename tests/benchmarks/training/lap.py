"""One loop in a process of its own; contest.py starts it and reads its last line, JSON.

python lap.py ours|timm_loop FOLDER bf16|fp32 WARM_UP MEASURED
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])

from tests.benchmarks.loader.material import Material
from tests.benchmarks.training.clock import Clock, Enough


def main() -> None:
    name, folder, dtype, warm_up, measured = sys.argv[1:]
    clock = Clock(int(warm_up), int(measured))
    try:
        import_module(f"tests.benchmarks.training.{name}").run(Material(Path(folder)), dtype, clock)
    except Enough:
        print(json.dumps({"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds}), flush=True)
    # Workers would wait for a consumer for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
