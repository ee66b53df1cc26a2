"""Stochastic depth: the right share is dropped, and every micro-batch draws its own."""

import numpy as np

from pipeline.data.augment.drop_path import drop_path_scales, torch_seed


def test_drop_path_keeps_the_mean_and_the_rate() -> None:
    rates = np.array([0.0, 0.1, 0.4])
    scales = np.concatenate([drop_path_scales(rates, 1, step, 0, 64) for step in range(300)])
    assert (scales[:, 0] == 1).all()
    dropped = (scales == 0).mean(axis=0)
    assert np.abs(dropped - rates).max() < 3.3 * np.sqrt(0.25 / len(scales))
    assert np.allclose(scales[:, 2][scales[:, 2] > 0], 1 / 0.6)


def test_micro_batches_draw_apart() -> None:
    rates = np.full(8, 0.5)
    drawn = [drop_path_scales(rates, 1, s, m, 32) for s in range(3) for m in range(3)]
    assert all(not np.array_equal(a, b) for i, a in enumerate(drawn) for b in drawn[i + 1 :])
    seeds = {torch_seed(1, step, index) for step in range(100) for index in range(10)}
    assert len(seeds) == 1000 and max(seeds) < 2**63
