"""Triton kernels as a GPU would get them, compiled on a machine without one.

For a process without TRITON_INTERPRET. ``recorded`` notes what is launched on tensors of the meta
device, so at any shape without memory, and ``compiled`` compiles that.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

_NAMES = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}
_CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True)
class Launch:
    """A kernel with all by which Triton compiles it: equal ones are one binary."""

    kernel: JITFunction
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, object], ...]
    multiples_of_16: tuple[int, ...]
    options: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        return self.kernel.__name__


@dataclass(frozen=True)
class Compiled:
    """What a GPU would load."""

    launch: Launch
    registers: int
    """Of a thread."""
    stack_bytes: int
    """Of a thread; more than 0 where registers spill."""
    shared_bytes: int
    """Of a program."""
    ptx: str


@dataclass(frozen=True)
class Call:
    """One launch of a kernel."""

    launch: Launch
    grid: tuple[int, ...]
    elements: tuple[int, ...]
    """Of each tensor among the arguments, in order."""


def recorded(run: Callable[[], object]) -> list[Call]:
    """The launches that ``run`` makes, in order; none of them happens."""
    calls: list[Call] = []

    def record(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
        options = {key: named.pop(key) for key in ("num_warps", "num_stages") if key in named}
        values = dict(zip(kernel.arg_names, args, strict=False)) | named
        elements = tuple(value.numel() for value in values.values() if isinstance(value, Tensor))
        calls.append(Call(_launch(kernel, values, options), grid, elements))

    launch, JITFunction.run = JITFunction.run, record
    try:
        run()
    finally:
        JITFunction.run = launch
    return calls


def _launch(kernel: JITFunction, values: dict[str, Any], options: dict[str, int]) -> Launch:
    fixed = {kernel.params[i].name for i in kernel.constexprs}
    signature, constants, multiples = {}, {}, []
    for number, name in enumerate(kernel.arg_names):
        value = values[name]
        if name in fixed or (type(value) is int and value == 1):
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[name] = _NAMES[value.dtype]
            multiples.append(number)
        elif type(value) is int:
            signature[name] = "i32"
            multiples += [number] if value % 16 == 0 else []
        else:
            assert isinstance(value, float), (name, value)
            signature[name] = "fp32"
    return Launch(
        kernel, tuple(signature.items()), tuple(constants.items()), tuple(multiples),
        tuple(sorted(options.items())),
    )  # fmt: skip


def compiled(launch: Launch, capability: int) -> Compiled:
    """capability: 90 for sm_90. Raises what Triton's compiler and ptxas raise."""
    source = ASTSource(
        fn=launch.kernel,
        signature=dict(launch.signature),
        constexprs=dict(launch.constants),
        attrs={(number,): [["tt.divisibility", 16]] for number in launch.multiples_of_16},
    )
    result = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options=dict(launch.options)
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [_CUOBJDUMP, "-res-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", usage)[-1]
    return Compiled(launch, int(registers), int(stack), result.metadata.shared, result.asm["ptx"])
