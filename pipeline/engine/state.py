"""The state of a training by parameter name, whole and fp32, whatever ZeRO stage holds it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.collective import Collective

MASTER = "master"
"""The fp32 weights that the optimizer updates."""
AVERAGE = "average"
"""Their exponential moving average."""


class State:
    """Reads and writes masters, moments and the average of one engine; all ranks take part.

    weights: the initial ones by name, fp32. average_decay: None where no average is kept.
    """

    def __init__(
        self,
        deepspeed: Any,
        engine: Any,
        stage: int,
        weights: Mapping[str, Tensor],
        average_decay: float | None,
        collective: Collective,
    ):
        self._deepspeed, self._engine = deepspeed, engine
        self._stage, self._collective = stage, collective
        parameters = dict(engine.module.named_parameters())
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._frozen = {n: weights[n] for n, p in parameters.items() if not p.requires_grad}
        self._masters = {id(weight): master for weight, master in self._master_pairs()}
        self._states_linked = False
        self._undo_first_step()
        if engine.bfloat16_enabled():
            # Else the masters would start from weights that were rounded to bf16.
            for name, parameter in parameters.items():
                self.write(parameter, MASTER, weights[name])
        self._decay = average_decay
        # Elementwise like the masters' parts on this rank, so that any partition will do.
        self._averages = [] if average_decay is None else [p.detach().clone() for p in self._parts]

    @property
    def keeps_average(self) -> bool:
        return bool(self._averages)

    def kinds(self, parameter: nn.Parameter) -> tuple[str, ...]:
        """What there is of a parameter; the optimizer's moments exist only after one step."""
        if self._names[id(parameter)] in self._frozen:
            return (MASTER,)
        return (MASTER, *self._moments(), *((AVERAGE,) if self._averages else ()))

    def read(self, parameter: nn.Parameter, kind: str) -> Tensor:
        """One of ``kinds``, in the parameter's shape."""
        name = self._names[id(parameter)]
        if name in self._frozen:
            return self._frozen[name]
        if kind == AVERAGE:
            with self._exchanged():
                return self._read(parameter, MASTER).clone()
        return self._read(parameter, kind)

    def write(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        """Set one of ``kinds``; with MASTER the weight that is computed with follows."""
        value = value.to(self._engine.device)
        name = self._names[id(parameter)]
        if name in self._frozen:
            self._frozen[name].copy_(value)
        elif kind == AVERAGE:
            with self._exchanged():
                self._write(parameter, MASTER, value)
        else:
            self._write(parameter, kind, value)
        if kind == MASTER:
            self._set_weight(parameter, value)

    def set_update_count(self, updates: int) -> None:
        """How many updates the optimizer has made: its bias correction depends on it."""
        for state in self._inner_optimizer.state.values():
            if "step" in state:
                if isinstance(state["step"], Tensor):
                    state["step"].fill_(updates)
                else:
                    state["step"] = updates

    def moments_were_made(self) -> None:
        """The optimizer has made a step; DeepSpeed is to link its new tensors."""
        self._states_linked = False

    def update_average(self) -> None:
        """One update of the average, after one of the masters."""
        if self._averages and self._decay is not None:
            with torch.no_grad():
                torch._foreach_lerp_(self._averages, list(self._parts), 1.0 - self._decay)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the model computes with the average of its weights."""
        with self._exchanged():
            self._refresh_weights()
            yield
        self._refresh_weights()

    @contextlib.contextmanager
    def _exchanged(self) -> Iterator[None]:
        """Within, the average lies where the masters do, and they where it does."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for part, average in zip(self._parts, self._averages, strict=True):
            kept = part.clone()
            part.copy_(average)
            average.copy_(kept)

    def _refresh_weights(self) -> None:
        for parameter in self._engine.module.parameters():
            if self._names[id(parameter)] not in self._frozen:
                self._set_weight(parameter, self._read(parameter, MASTER))

    @torch.no_grad()
    def _set_weight(self, parameter: nn.Parameter, value: Tensor) -> None:
        gathered = self._deepspeed.zero.GatheredParameters(
            [parameter], modifier_rank=0, enabled=self._stage == 3
        )
        with self._collective.waiting("weights"), gathered:
            parameter.data.copy_(value)

    @property
    def _inner_optimizer(self) -> torch.optim.Optimizer:
        return getattr(self._engine.optimizer, "optimizer", self._engine.optimizer)

    @property
    def _parts(self) -> list[Tensor]:
        """This rank's share of the masters."""
        if self._stage == 3:
            return [part.data for part in self._engine.optimizer.fp32_partitioned_groups_flat]
        return [p.data for group in self._inner_optimizer.param_groups for p in group["params"]]

    def _moments(self) -> tuple[str, ...]:
        """The optimizer's tensors that are as large as what they belong to."""
        for master, state in self._inner_optimizer.state.items():
            return tuple(
                name
                for name, value in state.items()
                if isinstance(value, Tensor) and value.shape == master.shape and value.ndim
            )
        return ()

    def _read(self, parameter: nn.Parameter, kind: str) -> Tensor:
        if self._stage == 0:
            return self._plain(parameter, kind)
        with self._collective.waiting("reading the state"):
            if kind == MASTER:
                return self._deepspeed.utils.safe_get_full_fp32_param(parameter)
            self._link_states()
            return self._deepspeed.utils.safe_get_full_optimizer_state(parameter, kind)

    @torch.no_grad()
    def _write(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        if self._stage == 0:
            self._plain(parameter, kind).copy_(value)
        elif self._stage == 3:
            self._write_stage3(parameter, kind, value)
        elif kind == MASTER:
            self._deepspeed.utils.safe_set_full_fp32_param(parameter, value)
        else:
            self._link_states()
            self._deepspeed.utils.safe_set_full_optimizer_state(parameter, value, kind)

    def _write_stage3(self, parameter: nn.Parameter, kind: str, value: Tensor) -> None:
        """Set this rank's part; DeepSpeed's setter refuses sizes that the ranks do not divide."""
        key = None if kind == MASTER else kind
        part, _ = self._engine.optimizer._get_fp32_opt_state_partition(
            parameter, release_swap_buffers=False, optim_state_key=key
        )
        padded = torch.zeros(part.numel() * self._collective.world.size, device=self._engine.device)
        padded[: value.numel()] = value.flatten()
        rank = self._engine.optimizer._get_param_partition_rank(parameter)
        part.data.copy_(padded.narrow(0, part.numel() * rank, part.numel()))

    def _link_states(self) -> None:
        # DeepSpeedZeroOptimizer links the moments when only its first group has any.
        optimizer = self._engine.optimizer
        if not self._states_linked and hasattr(optimizer, "_hp_optimizer_states_linked"):
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()
        self._states_linked = True

    def _undo_first_step(self) -> None:
        """Stage 0 in bf16: DeepSpeed makes the moments by a step, which decays the masters."""
        for weight, master in self._master_pairs():
            master.data.copy_(weight.data)
            self._inner_optimizer.state.pop(master, None)

    def _master_pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        optimizer = self._engine.optimizer
        if self._stage == 0 and hasattr(optimizer, "fp32_groups"):
            for weights, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
                yield from zip(weights, masters, strict=True)

    def _plain(self, parameter: nn.Parameter, kind: str) -> Tensor:
        """Stage 0: the tensor itself; under bf16 the masters lie beside the weights."""
        master = self._masters.get(id(parameter), parameter)
        return master.data if kind == MASTER else self._inner_optimizer.state[master][kind]
