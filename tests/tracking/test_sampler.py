"""The numbers of a machine with GPUs, which the tests' own machine may lack."""

from types import SimpleNamespace

import psutil
import pynvml
import pytest

from pipeline.tracking import sampler as sampler_module
from pipeline.tracking.sampler import Sampler, SystemProbe
from tests.tracking.waiting import wait_for


@pytest.fixture
def gpus(monkeypatch):
    """NVML with these GPUs: ``(utilization in percent, memory used, memory total)``."""

    def gpus(*loads):
        def utilization(index):
            if loads[index] is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return SimpleNamespace(gpu=loads[index][0])

        fakes = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: len(loads),
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetUtilizationRates": utilization,
            "nvmlDeviceGetMemoryInfo": lambda i: SimpleNamespace(
                used=loads[i][1], total=loads[i][2]
            ),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(pynvml, name, fake)

    return gpus


def test_gpus_are_one_mean_and_one_maximum_and_a_split_one_is_left_out(gpus):
    gpus((90, 10, 80), None, (50, 60, 80))
    sample = SystemProbe("n3").sample()
    assert sample["system/n3/gpu_util_pct"] == 70.0
    assert sample["system/n3/gpu_memory_pct"] == 75.0
    assert len(sample) <= 6


def test_without_gpus_there_are_no_gpu_keys(monkeypatch):
    def no_driver():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert set(SystemProbe("n").sample()) == {
        "system/n/cpu_pct",
        "system/n/rss_mib",
        "system/n/memory_pct",
    }


def test_the_whole_process_tree_counts(gpus, monkeypatch):
    gpus()
    probe = SystemProbe("n")
    alone = probe.sample()["system/n/rss_mib"]

    def gone():
        raise psutil.NoSuchProcess(1)

    child = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1 << 40))
    ended = SimpleNamespace(memory_info=gone)
    monkeypatch.setattr(probe._process, "children", lambda recursive: [child, ended])
    assert probe.sample()["system/n/rss_mib"] == pytest.approx((1 << 20) + alone, rel=0.01)


def test_failing_readings_cost_a_warning_and_leave_signs_of_life(monkeypatch, capsys):
    class Broken:
        def __init__(self, node):
            pass

        def sample(self):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(sampler_module, "SystemProbe", Broken)
    written = []
    sampler = Sampler("n", 0.01, written.append)
    wait_for(lambda: len(written) > 1, "two samples")
    sampler.stop()
    assert written[:2] == [{}, {}]
    assert capsys.readouterr().err.count("warning: no system metrics for now: NVMLError") == 1
