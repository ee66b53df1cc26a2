"""A rank of a tournament of all-reduces; it prints its rates. ``absent=RANK`` never comes."""

import json
import sys

from pipeline.collective.pair_rates import pair_rates
from pipeline.world import from_environment
from slurm.doctor.pairs import partners

world = from_environment()
absent = [int(word.removeprefix("absent=")) for word in sys.argv[1:]]
if world.rank not in absent:
    print(json.dumps(pair_rates(world, partners(world.rank, world.size), "cpu", 1 << 20, 1.0)))
