"""The paper's figures as data: complete, typed, and true among themselves."""

import subprocess
import sys

from pipeline.paper import figures


def test_counts_agree_with_what_is_printed() -> None:
    for model in (*figures().sizes, *figures().ablations):
        assert round(model.parameters / 1e6, 1) == model.parameters_m, model.name
        if model.frozen_m is not None:
            assert round(model.frozen / 1e6) == model.frozen_m


def test_groups_are_whole() -> None:
    paper = figures()
    assert [model.top1 for model in paper.sizes] == [77.2, 80.3, 81.4, 82.1, 82.5]
    assert len(paper.ablations) == 18 and len(paper.peers) == 22 and len(paper.follow_up) == 15
    assert len({model.config for model in paper.ablations}) == 18
    assert paper.longer_training[300] == paper.sizes[0].top1 == paper.ablations[0].top1
    assert {row["backbone"] for row in paper.segmentation if "PoolFormer" in row["backbone"]} == {
        f"PoolFormer-{model.name}" for model in paper.sizes
    }
    # The follow-up's models come in the paper's sizes, each better than the one before.
    for family in ("identityformer", "randformer", "poolformerv2"):
        top1 = [model.top1 for model in paper.follow_up if model.name.startswith(family)]
        assert len(top1) == 5 and top1 == sorted(top1)
    # Its training scripts drop paths as the first paper does.
    peaks = {model.name.lower(): model.settings["model.drop_path"] for model in paper.sizes}
    assert all(model.drop_path == peaks[model.name[-3:]] for model in paper.follow_up)


def test_reading_them_takes_no_torch() -> None:
    program = "import sys, pipeline.paper as p; p.figures(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
