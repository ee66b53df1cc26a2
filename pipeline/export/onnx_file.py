"""model.onnx, held against torch; only importer of onnxruntime."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import PipelineError

TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit."""

_TRACED_BATCH, _CHECKED_BATCHES = 2, (1, 3)
_ONE_FILE_BYTES = 1_800_000_000  # protobuf ends at 2 GiB


def write_onnx(path: Path, model: nn.Module, side: int) -> float:
    """Write the fp32 model on the CPU: images (batch, 3, side, side) to logits, any batch.

    Returns the largest difference to torch on random images, as TOLERANCE counts it. Raises
    PipelineError where it is larger, or where torch cannot write the model.
    """
    images = torch.zeros(_TRACED_BATCH, 3, side, side)
    weight_bytes = sum(4 * parameter.numel() for parameter in model.parameters())
    try:
        with _quiet():
            torch.onnx.export(
                model,
                (images,),
                path,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=weight_bytes > _ONE_FILE_BYTES,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise PipelineError(
            f"torch cannot write this model as ONNX ({reason}); export without --onnx"
        ) from error
    difference = largest_difference(path, model, side)
    if not difference <= TOLERANCE:
        raise PipelineError(
            f"{path.name}: its logits differ from torch's by {difference:.1e} of the largest, "
            f"{TOLERANCE:.0e} is the most; export without --onnx, and report the model"
        )
    return difference


def largest_difference(path: Path, model: nn.Module, side: int) -> float:
    """Of onnxruntime's logits from torch's on random images, as a share of the largest logit."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    found = [0.0]
    for batch in _CHECKED_BATCHES:
        images = torch.randn(batch, 3, side, side, generator=generator)
        with torch.inference_mode():
            expected = model(images)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        gap = (torch.from_numpy(logits) - expected).abs().max() / expected.abs().max()
        # `max` would pass over a NaN.
        found.append(float(gap) if torch.isfinite(gap) else float("inf"))
    return max(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of its passes on stdout, where results belong, and warns of its own."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
