"""What DeepSpeed is told, as a pure function of config and plan."""

from typing import Any

from pipeline.config import Config
from pipeline.plan import Plan
from pipeline.plan.traffic import BUCKET_ELEMENTS


def deepspeed_config(config: Config, plan: Plan) -> dict[str, Any]:
    """The dict that DeepSpeed takes; nobody writes its JSON by hand.

    Gradients are reduced in fp32. With one micro-batch per rank nothing accumulates, so
    reduction overlaps the backward pass, of several ranks on GPUs; with more they accumulate in
    fp32.
    """
    accumulates = plan.slots > 1
    is_bf16 = config.engine.dtype == "bf16"
    return {
        "train_batch_size": plan.micro_batch * plan.slots * plan.world_size,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.slots,
        # DeepSpeed clips before the engine's last factor.
        "gradient_clipping": (config.optim.clip_grad or 0.0) / plan.gradient_scale,
        "communication_data_type": "fp32",
        "data_types": {"grad_accum_dtype": "fp32" if accumulates or not is_bf16 else "bf16"},
        "bf16": {"enabled": is_bf16, "check_grad_overflow": is_bf16},
        "zero_optimization": {
            "stage": config.engine.zero_stage,
            "reduce_bucket_size": BUCKET_ELEMENTS,
            # Alone there is nothing to overlap, and DeepSpeed would wait for the GPU.
            "overlap_comm": not accumulates and config.device == "cuda" and plan.world_size > 1,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
