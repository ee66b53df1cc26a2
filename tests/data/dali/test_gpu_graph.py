"""The graph that runs on a GPU, as far as a CPU can say: its choices, its parts, its formulas."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from nvidia.dali import backend
from nvidia.dali.data_node import DataNode
from PIL import Image

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.transforms import Transforms, train_transforms
from pipeline.data.dali import decoding, gpu_decoder, operations
from pipeline.data.dali.gpu_decoder import GpuDecoder
from pipeline.data.dali.graph import GraphSettings, graph_inputs, image_graph
from pipeline.data.dali.operations import Canvas
from tests.data.dali.test_graph import JPEGS, SIZES

SIDE, FILL = 96, (124, 116, 104)
DECODER = GpuDecoder(width_hint=400, height_hint=400, buffer_bytes=1000, hardware_share=1.0)
RECIPES = [None, "rand-m9-n3-p1.0-inc1"]

Emulated = Callable[[int], None]


def settings_of(on_gpu: bool, decoder: GpuDecoder | None, layers: int) -> GraphSettings:
    return GraphSettings(Canvas(SIDE, FILL, on_gpu), decoder, layers)


def run(transforms: Transforms, settings: GraphSettings) -> np.ndarray:
    pipe: Any = image_graph(
        source=iter([graph_inputs(JPEGS, transforms, settings)]),
        settings=settings,
        batch_size=len(JPEGS),
        num_threads=1,
        device_id=None,
        prefetch_queue_depth=1,
    )
    pipe.build()
    return pipe.run()[0].as_array().astype(int)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Emulated:
    """Let the CPU do what the graph asks of a GPU; its argument: the most pixels a GPU decodes."""

    def start(most_pixels: int) -> None:
        on_cpu, constant = decoding._on_cpu, operations._constant
        monkeypatch.setattr(gpu_decoder, "MOST_PIXELS", most_pixels)
        monkeypatch.setattr(DataNode, "gpu", lambda node: node)
        monkeypatch.setattr(decoding, "_on_gpu", lambda *inputs: on_cpu(*inputs[:3]))
        monkeypatch.setattr(
            operations,
            "_constant",
            lambda value, canvas, layout="": constant(value, Canvas(SIDE, FILL, False), layout),
        )

    return start


@pytest.mark.parametrize("aa", RECIPES)
@pytest.mark.parametrize("most_pixels", [0, 80_000, 10**9])
@pytest.mark.parametrize("decoder", [DECODER, None])
def test_images_are_those_of_the_cpu_whoever_decodes_them(
    aa: str | None, most_pixels: int, decoder: GpuDecoder | None, emulated: Emulated
) -> None:
    """All huge, some, or none; the GPU's formulas differ in the rounding of few values."""
    config = AugmentConfig.model_validate({"aa": aa, "img_size": SIDE})
    ids = np.arange(len(SIZES))
    batches = [train_transforms(config, 7, epoch, ids, SIZES) for epoch in range(3)]
    layers = batches[0].operations.layers
    expected = np.stack([run(batch, settings_of(False, None, layers)) for batch in batches])
    emulated(most_pixels)
    got = np.stack([run(batch, settings_of(True, decoder, layers)) for batch in batches])
    assert np.mean(got != expected) < 1e-3 and np.abs(got - expected).max() <= 1


def test_the_gpu_decodes_whole_batches_with_small_files_for_huge_images() -> None:
    sizes = SIZES.copy()
    sizes[1] = 5000, 6000
    transforms = train_transforms(AugmentConfig(aa=None), 7, 0, np.arange(len(sizes)), sizes)
    files, start, shape, *_, huge, others, other_start, other_shape = decoding.decode_inputs(
        JPEGS, transforms, Canvas(SIDE, FILL, True), DECODER
    )
    assert huge.tolist() == [False, True, False, False, False]
    assert [len(file) > 1 for file in files] == huge.tolist()
    assert files[1] is JPEGS[1] and all(others[i] is JPEGS[i] for i in (0, 2, 3, 4))
    with Image.open(io.BytesIO(others[1].tobytes())) as small:
        assert (other_start[1] + other_shape[1] <= small.size).all() and max(small.size) < 64
    kept = ~huge
    assert np.array_equal(start[kept], other_start[kept])
    assert np.array_equal(shape[kept], other_shape[kept])


@pytest.mark.filterwarnings("ignore:The external source node")  # decoding leaves some unused
@pytest.mark.parametrize("decode_only", [False, True])
@pytest.mark.parametrize(("on_gpu", "decoder"), [(True, DECODER), (True, None), (False, None)])
def test_every_operator_exists_where_the_graph_asks_for_it(
    on_gpu: bool, decoder: GpuDecoder | None, decode_only: bool
) -> None:
    layers = 0 if decode_only else 2
    settings = replace(settings_of(on_gpu, decoder, layers), decode_only=decode_only)
    pipe: Any = image_graph(source=iter([]), settings=settings, batch_size=2, num_threads=1)
    pipe._build_graph()
    registered = {
        "cpu": backend.RegisteredCPUOps(),
        "gpu": backend.RegisteredGPUOps(),
        "mixed": backend.RegisteredMixedOps(),
    }
    used = Counter((node._op.schema.Name(), node._op.device) for node in pipe._ops)
    assert all(name in registered[device] for name, device in used)
    decoders = {device: n for (name, device), n in used.items() if name == "decoders__ImageSlice"}
    assert decoders == ({"cpu": 1, "mixed": 1} if decoder else {"cpu": 1})
    is_on_gpu = on_gpu and not decode_only  # shapes are always on the host
    assert [node.device for node in pipe._graph_outputs] == ["gpu" if is_on_gpu else "cpu"]


def test_what_is_set_aside_follows_the_sizes_and_has_bounds() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(300, 600, (1000, 2))
    usual = gpu_decoder.gpu_decoder(sizes, 64, 1.0)
    assert 590 < usual.width_hint < 600 and 590 < usual.height_hint < 600
    assert usual.buffer_bytes == 6 * sizes.prod(axis=1).max()
    with_huge = np.concatenate([sizes, [[20_000, 20_000]] * 3])
    assert gpu_decoder.gpu_decoder(with_huge, 64, 1.0) == usual
    large = gpu_decoder.gpu_decoder(np.full((9, 2), 2048), 256, 1.0)
    assert 0.99 < 3 * 256 * large.width_hint * large.height_hint / 2**30 <= 1
    assert large.buffer_bytes == 6 * 2048**2
    only_huge = gpu_decoder.gpu_decoder(np.full((9, 2), 9000), 256, 1.0)
    assert (only_huge.width_hint, only_huge.height_hint) == (1, 1)


def test_huge_is_a_matter_of_the_image_alone() -> None:
    sizes = np.array([[2048, 2048], [2049, 2048], [5000, 6000], [60_000, 60], [1, 1]])
    assert gpu_decoder.is_huge(sizes).tolist() == [False, True, True, False, False]
