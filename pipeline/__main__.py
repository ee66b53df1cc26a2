"""List the verbs, or run one: ``python -m pipeline plan X`` is ``python -m pipeline.plan X``."""

import runpy
import sys

from pipeline.errors import UserError, run_cli

VERBS = {
    "config": "print a resolved config and where each value came from",
    "models": "a model's stages, parameters, MACs and memory; --check compares all with the paper",
    "plan": "steps, micro-batches per rank, worlds that fit; --nodes forecasts many nodes",
    "data.show": "draw a batch as the model gets it, with labels and shares",
    "data.bench": "time the loader alone, stage by stage, and say what bounds it",
    "data.parity": "the input pipeline beside timm, torchvision and PIL: pixels and draws",
    "dtype": "time bf16 and fp32 on this machine and name the faster",
    "train": "train in this process (slurm/launch.py starts one per GPU)",
    "evaluate": "a run or a file of weights on the validation split: scores, classes, confusions",
    "export": "a run's weights as a folder that timm loads, with a model card; ONNX, speeds",
    "predict": "the classes of image files, and where in them the model sees the first",
    "compare": "runs side by side: settings that differ, metrics, deltas",
    "tracking": "upload journals to MLflow, or open its UI",
}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: python -m pipeline VERB ...   (VERB --help says more)\n")
        for verb, what in VERBS.items():
            print(f"  {verb:<13}{what}")
        return 0
    verb = sys.argv[1]
    if verb not in VERBS:
        raise UserError(f"{verb!r} is no verb of pipeline; there are {', '.join(VERBS)}")
    sys.argv = sys.argv[1:]
    runpy.run_module(f"pipeline.{verb}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    run_cli(main)
