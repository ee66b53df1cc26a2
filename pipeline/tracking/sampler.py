"""Samples of the machine: at most six numbers per node, every few seconds, from a thread."""

import threading
from collections.abc import Callable

import psutil
import pynvml

from pipeline.log import warn

_MIB = 1 << 20


class SystemProbe:
    """Reads this machine; ``node`` names it in the keys ``system/<node>/...``.

    cpu_pct and memory_pct are of the whole machine, rss_mib (MiB) is of this process and its
    children, gpu_util_pct is the mean and gpu_memory_pct the fullest of the machine's GPUs.
    """

    def __init__(self, node: str):
        self._prefix = f"system/{node}/"
        self._process = psutil.Process()
        self._gpus = _gpus()
        # psutil's share of the CPU is since the call before; the first one has no such call.
        psutil.cpu_percent(interval=None)

    def sample(self) -> dict[str, float]:
        """One reading."""
        values = {
            "cpu_pct": psutil.cpu_percent(interval=None),
            "rss_mib": self._tree_bytes() / _MIB,
            "memory_pct": psutil.virtual_memory().percent,
        }
        if self._gpus:
            utilization = [pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in self._gpus]
            memory = [pynvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in self._gpus]
            values["gpu_util_pct"] = sum(map(float, utilization)) / len(utilization)
            values["gpu_memory_pct"] = max(100 * float(m.used) / float(m.total) for m in memory)
        return {self._prefix + name: float(value) for name, value in values.items()}

    def _tree_bytes(self) -> int:
        total = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue  # it ended between the list and the question
        return total


class Sampler:
    """Calls ``write(values)`` with a reading every ``every_s`` seconds until stopped.

    Without values where the machine does not tell them.
    """

    def __init__(self, node: str, every_s: float, write: Callable[[dict[str, float]], None]):
        self._every_s, self._write = every_s, write
        self._stop = threading.Event()
        self._probe = SystemProbe(node)
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="system-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No reading is written after this returns."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                values = self._probe.sample()
            except (psutil.Error, pynvml.NVMLError, OSError) as error:
                # Training is worth more than its load curve.
                if not self._has_failed:
                    warn(f"no system metrics for now: {type(error).__name__}: {error}")
                self._has_failed, values = True, {}
            # Also without values: a journal that grows says that the training lives.
            self._write(values)


def _gpus() -> list[object]:
    """NVML's handles of the GPUs that tell their load; none where there is no driver."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    except pynvml.NVMLError:
        return []
    return [handle for handle in handles if _tells_load(handle)]


def _tells_load(gpu: object) -> bool:
    """A GPU that is split (MIG) does not."""
    try:
        pynvml.nvmlDeviceGetUtilizationRates(gpu)
        pynvml.nvmlDeviceGetMemoryInfo(gpu)
    except pynvml.NVMLError:
        return False
    return True
