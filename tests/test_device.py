"""What a GPU is told before anything is computed; PyTorch's switches need none."""

import os
from collections.abc import Iterator

import pytest
import torch

from pipeline import device as device_module
from pipeline.config.schema import Config
from pipeline.device import CUBLAS_VARIABLE, cublas_workspace, open_device
from pipeline.errors import PreflightError
from pipeline.world import World


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that is there to be chosen; the switches are as before afterwards."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setenv(CUBLAS_VARIABLE, "")
    monkeypatch.delenv(CUBLAS_VARIABLE)
    cudnn, filling = torch.backends.cudnn, torch.utils.deterministic
    before = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32)
    fills, precision = filling.fill_uninitialized_memory, torch.get_float32_matmul_precision()
    yield
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = before
    filling.fill_uninitialized_memory = fills
    torch.set_float32_matmul_precision(precision)
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("a_gpu")
@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_sets_all_of_its_switches(deterministic: bool) -> None:
    config = Config.model_validate({"engine": {"deterministic": deterministic}})
    assert open_device(config, World()) == torch.device("cuda", 0)
    cudnn = torch.backends.cudnn
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert (cudnn.deterministic, cudnn.benchmark) == (deterministic, not deterministic)
    assert os.environ.get(CUBLAS_VARIABLE) == (":4096:8" if deterministic else None)
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("a_gpu")
def test_a_workspace_that_will_not_do_is_refused_where_it_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CUBLAS_VARIABLE, ":0:0")
    with pytest.raises(PreflightError, match=r"CUBLAS_WORKSPACE_CONFIG=:0:0, but .* unset it"):
        open_device(Config(), World())
    open_device(Config.model_validate({"engine": {"deterministic": False}}), World())
    assert os.environ[CUBLAS_VARIABLE] == ":0:0"


def test_a_workspace_that_will_do_stays() -> None:
    assert [cublas_workspace(found) for found in (None, ":16:8")] == [":4096:8", ":16:8"]


def test_a_cpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_keep_freed_memory", lambda: None)
    threads = torch.get_num_threads()
    assert open_device(Config.model_validate({"device": "cpu"}), World()).type == "cpu"
    torch.set_num_threads(threads)
    assert not torch.are_deterministic_algorithms_enabled()
