"""The generator against its authors' known answers (Random123, kat_vectors, philox4x32 10)."""

import numpy as np
import pytest

from pipeline.data.philox import philox4x32, uniforms

KNOWN = [
    ([0, 0, 0, 0], (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter: list[int], key: tuple[int, int], words: str) -> None:
    drawn = philox4x32(np.array([counter], np.uint32), key)[0]
    assert " ".join(f"{word:08x}" for word in drawn) == words


def test_a_draw_depends_on_its_address_only() -> None:
    ids = np.arange(100)
    together = uniforms(3, 1, (5, ids), 7)
    alone = np.concatenate([uniforms(3, 1, (5, ids[i : i + 1]), 7) for i in range(100)])
    assert np.array_equal(together, alone)
    assert np.array_equal(uniforms(3, 1, (5, ids), 4), together[:, :4])
    for other in (
        uniforms(4, 1, (5, ids), 7),
        uniforms(3, 2, (5, ids), 7),
        uniforms(3, 1, (6, ids), 7),
    ):
        assert not np.isclose(other, together).all(axis=1).any()


def test_uniform_between_0_and_1() -> None:
    draws = uniforms(1, 1, (0, np.arange(20_000)), 1)[:, 0]
    assert draws.min() > 0 and draws.max() < 1
    distance = np.abs(np.sort(draws) - np.arange(1, 20_001) / 20_000).max()
    assert distance < 1.95 / np.sqrt(20_000)
