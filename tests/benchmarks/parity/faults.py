"""Ways to reduce gradients that the pipeline does not use, to see what they would do.

``bf16``: DeepSpeed's own default, gradients accumulated and reduced in bf16. ``none``: what
DeepSpeed's BF16_Optimizer did when its issue 3979 was written (bf16, stages 0 and 1: the more
ranks, the less accuracy): it stepped with fp32 gradients of its own, while the engine reduced the
bf16 ones beside them. So each rank updated its part of the weights by its own micro-batches alone.
DeepSpeed's pull requests 5154 and 5170 describe it, 7985 mends a remainder: the last micro-batch.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pipeline.engine.start
from pipeline.config import Config
from pipeline.engine import Engine, deepspeed_config
from pipeline.plan import Plan


@contextlib.contextmanager
def reduced_in(dtype: str) -> Iterator[None]:
    """Within, engines that are built reduce as a Case's ``reduction`` says."""

    def other_config(config: Config, plan: Plan) -> dict[str, Any]:
        settings = deepspeed_config(config, plan)
        if dtype == "bf16":
            settings["communication_data_type"] = "bf16"
            settings["data_types"] = {"grad_accum_dtype": "bf16"}
        return settings

    with mock.patch.object(pipeline.engine.start, "deepspeed_config", other_config):
        yield


def reduce_nothing(engine: Engine) -> None:
    """Leave out the sum over the ranks from now on."""
    engine._engine.allreduce_gradients = lambda *_, **__: None
