"""Our side: the graph that trains and evaluates, fed with what is to be compared."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.schema import AugmentConfig
from pipeline.data.augment.operations import Operations
from pipeline.data.augment.transforms import Transforms
from pipeline.data.dali.graph import GraphSettings, Jpegs, graph_inputs, image_graph
from pipeline.data.dali.operations import Canvas, fill_of
from pipeline.data.dali.reasons import reason_of
from pipeline.errors import DataError

THREADS = 2


def transformed(
    files: Jpegs, transforms: Sequence[Transforms], config: AugmentConfig
) -> Iterator[NDArray[np.uint8]]:
    """What each of ``transforms``, all of as many layers, makes of B files.

    Yields (B, img_size, img_size, 3) pixels, decoded on the CPU. Raises DataError where DALI
    fails.
    """
    settings = GraphSettings(
        canvas=Canvas(config.img_size, fill_of(config), on_gpu=False),
        gpu_decoder=None,
        layers=transforms[0].operations.layers,
    )
    batches = (graph_inputs(files, each, settings) for each in transforms)
    yield from _runs(batches, settings, len(files))


def operated(
    squares: NDArray[np.uint8],
    operations: Sequence[Operations],
    fill: tuple[int, int, int],
) -> Iterator[NDArray[np.uint8]]:
    """For each item of ``operations``, all of as many layers, what it makes of the squares.

    squares: (B, side, side, 3). They go in as files without loss and are not resized, so that
    nothing but the operations happens. Yields (B, side, side, 3).
    """
    count, side = squares.shape[:2]
    files = [portable_pixmap(square) for square in squares]
    settings = GraphSettings(
        canvas=Canvas(side, fill, on_gpu=False),
        gpu_decoder=None,
        layers=operations[0].layers,
    )
    batches = (graph_inputs(files, whole(side, ops), settings) for ops in operations)
    yield from _runs(batches, settings, count)


def _runs(
    batches: Iterable[tuple[Any, ...]], settings: GraphSettings, batch_size: int
) -> Iterator[NDArray[np.uint8]]:
    pipe: Any = image_graph(
        source=iter(batches),
        settings=settings,
        batch_size=batch_size,
        num_threads=THREADS,
        device_id=None,
        prefetch_queue_depth=2,  # DALI works while PIL does
    )
    pipe.build()
    while True:
        try:
            (images,) = pipe.run()
        except StopIteration:
            return
        except RuntimeError as error:
            raise DataError(f"DALI stops at one of the images: {reason_of(error)}") from error
        yield images.as_array().copy()


def whole(side: int, operations: Operations) -> Transforms:
    """The whole image, as it is, and then the operations."""
    count = len(operations.ops)
    return Transforms(
        sizes=np.full((count, 2), side),
        boxes=np.tile([0, 0, side, side], (count, 1)),
        resized=np.full((count, 2), side),
        crops=np.zeros((count, 2), np.int64),
        bicubic=np.zeros(count, np.bool_),
        flips=np.zeros(count, np.bool_),
        operations=operations,
    )


def portable_pixmap(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """square: (height, width, 3). Returns a file of it without loss, which DALI decodes."""
    height, width = square.shape[:2]
    header = np.frombuffer(f"P6 {width} {height} 255\n".encode(), np.uint8)
    return np.concatenate([header, square.reshape(-1)])
