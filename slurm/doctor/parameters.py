"""About how many parameters a config's model has; no torch."""

from itertools import pairwise

from pipeline.config import Config
from pipeline.models.stages import plan_stages
from pipeline.paper import figures

_LARGEST = 200_000_000
"""For models of timm that the project knows nothing of."""


def parameters_at_most(config: Config) -> int:
    """A few percent above a MetaFormer's count; for others what is known of them."""
    model = config.model
    if model.name != "metaformer":
        known = {row.name: row.parameters_m for row in figures().follow_up}
        return int(known[model.name] * 1e6) if model.name in known else _LARGEST
    widths = model.metaformer.dims
    total = 147 * widths[0] + widths[-1] * model.num_classes
    total += sum(9 * a * b for a, b in pairwise(widths))
    for stage in plan_stages(model.metaformer, config.augment.img_size):
        # The MLP's two matrices are four times as wide; attention has four square ones.
        total += stage.depth * 8 * stage.dim**2
        if stage.token_mixer == "attention":
            total += stage.depth * 4 * stage.dim**2
        elif stage.token_mixer == "spatial_fc":
            total += stage.depth * stage.positions**2
    # Norms, biases and scales.
    return int(1.02 * total)
