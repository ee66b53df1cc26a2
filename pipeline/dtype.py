"""Time a config's model in bf16 and fp32 on this machine; the faster one's name is on stdout."""

import argparse
import sys
import time

from pipeline.config import load
from pipeline.config.schema import Config
from pipeline.errors import run_cli
from pipeline.log import info

_DTYPES = ("bf16", "fp32")


def images_per_second(config: Config, dtype: str, seconds: float) -> float:
    """Forward and backward of micro-batches on this process's threads, for about ``seconds``."""
    import torch

    from pipeline.data.mix import DTYPES
    from pipeline.device import open_device
    from pipeline.models.build import build_model
    from pipeline.world import World

    device = open_device(config, World())
    kind = DTYPES[dtype]
    model = build_model(config.model, config.seed, config.augment.img_size).to(device, kind)
    side, batch = config.augment.img_size, config.train.micro_batch
    images = torch.zeros(batch, side, side, 3, device=device, dtype=kind).permute(0, 3, 1, 2)

    def step() -> None:
        model(images).float().logsumexp(1).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    step()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    return steps * batch / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.dtype", description=__doc__)
    parser.add_argument("config", help="config file, such as configs/digits.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--seconds", type=float, default=2.0, help="per dtype (default 2)")
    args = parser.parse_args()
    config = load(args.config, args.overrides).config
    speeds = {dtype: images_per_second(config, dtype, args.seconds) for dtype in _DTYPES}
    # bf16 unless fp32 is faster: GPUs want bf16, CPUs without AVX512-BF16 do not.
    choice = max(speeds, key=lambda dtype: speeds[dtype])
    shown = ", ".join(f"{dtype} {speed:.0f} img/s" for dtype, speed in speeds.items())
    info(f"engine.dtype={choice}: the faster one here, per process ({shown})")
    print(choice)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    run_cli(main)
