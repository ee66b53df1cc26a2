"""Started by a rank, beside it: ``python -m pipeline.watchdog ORDER``, an Order as JSON."""

import json
import sys

from pipeline.watchdog.watching import Order, watch

if __name__ == "__main__":
    watch(Order(**json.loads(sys.argv[1])))
