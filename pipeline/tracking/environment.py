"""What a training runs on: Python, driver, GPUs and the version of every installed package."""

import platform
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import distributions

import pynvml


def environment_text() -> str:
    """One line per fact, then one per package as ``pip freeze`` has it. Touches no GPU."""
    facts = {"python": platform.python_version(), "system": platform.platform()} | _gpu_facts()
    lines = [f"# {name}: {text}" for name, text in facts.items()]
    versions = _installed()
    lines += [f"{name}=={versions[name]}" for name in sorted(versions, key=str.casefold)]
    return "\n".join(lines) + "\n"


def _installed() -> Mapping[str, str]:
    # Of two in the same environment, the one that is found first is imported.
    found: dict[str, str] = {}
    for distribution in distributions():
        # An uninstall that was cut short leaves a folder without a name in it.
        name = distribution.metadata["Name"]
        if name is not None:
            found.setdefault(name, distribution.version)
    return found


def _gpu_facts() -> dict[str, str]:
    """Empty where there is no driver."""
    try:
        pynvml.nvmlInit()
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        counts = Counter(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
        driver = str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return {}
    return {
        "driver": f"{driver}, CUDA up to {cuda // 1000}.{cuda % 1000 // 10}",
        "GPUs": ", ".join(f"{count} x {name}" for name, count in counts.items()) or "none",
    }
