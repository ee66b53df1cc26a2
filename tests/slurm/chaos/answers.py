"""python -m tests.slurm.chaos.answers SHARDS OUT RUN...: logits by each run's last checkpoint."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.checkpoint.weights import weights_from
from pipeline.config import load
from pipeline.data.evaluation import eval_batches
from pipeline.data.images import Images
from pipeline.data.mix import DTYPES, Normaliser
from pipeline.device import open_device
from pipeline.inference.model import logits_of
from pipeline.models.build import build_model
from pipeline.shards import open_split
from pipeline.tracking.run_folder import RunFolder
from pipeline.world import World
from tests.dist.kill_rounds import final_folder


def main() -> None:
    shards, out, *runs = map(Path, sys.argv[1:])
    config = load(RunFolder(runs[0]).config, [f"data.root={shards}"]).config
    device = open_device(config, World())
    split = open_split(config.data.root, config.data.val_split)
    numbers = range(-(-len(split) // config.evaluate.batch_size))
    images = Images(config, split, device)
    normalised = Normaliser(config.augment, device, DTYPES[config.engine.dtype])
    batches = [b.images for b in eval_batches(config, images, normalised, device, numbers)]
    model = build_model(config.model, config.seed, config.augment.img_size).eval()
    logits = {}
    for number, run in enumerate(runs):
        model.load_state_dict(weights_from(final_folder(run)))
        logits[str(number)] = torch.cat([logits_of(model, batch) for batch in batches])
    save_file(logits, out)


main()
