"""Types of the compiled module (csrc/bind/module.cpp, csrc/bind/lane.h): plain data in, tensors out."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

_Place = tuple[int, int, int, int, int]  # of a tensor: buffer, offset, three strides

STACK_SCRATCH: int
BUFFERS: dict[str, int]
CUDA_ARCHITECTURES: str
COMPILER: str

class Plan:
    @property
    def output_shape(self) -> list[int]: ...
    @property
    def orders(self) -> list[list[int]]: ...
    @property
    def trials(self) -> int: ...
    @property
    def work(self) -> int: ...
    @property
    def gather(self) -> bool: ...
    @property
    def has_blas(self) -> bool: ...
    @property
    def blas(self) -> tuple[tuple[int, tuple[int, int, int, int], _Place, _Place, _Place], ...]: ...
    @property
    def scratch(self) -> int: ...
    def trial_offsets(self, trial: int, /) -> list[int]: ...
    @property
    def saved(self) -> int: ...
    @property
    def route(self) -> str: ...
    def scratch_bytes(self, threads: int, cuda: bool = False) -> int: ...
    def training_bytes(self, threads: int, sharing: int = 0, trials: int = -1) -> int: ...
    def trains_by_trial(self, threads: int, /) -> bool: ...
    @property
    def tree(self) -> list[tuple[int, int, int]]: ...
    @property
    def constant_groups(self) -> list[list[int]]: ...
    def explain(self) -> str: ...

class LanesStep:
    @property
    def length(self) -> int: ...
    @property
    def compiled(self) -> bool: ...
    @property
    def held(self) -> int: ...
    @property
    def code(self) -> int: ...
    def bytes(self, trials: int, threads: int, /) -> int: ...

def target_names() -> list[str]: ...
def can_run(target_name: str, /) -> bool: ...
def set_exchange_table(table: object, /) -> None: ...
def set_plain_classes(tensor: type[Tensor], parameter: type[Tensor], /) -> None: ...
def set_surroundings(
    watchers: Sequence[Callable[[], object]],
    forward_mode: object,
    autocast: object,
    recording: object,
    threads: object,
    /,
) -> None: ...
def load_target(path: str, /) -> str: ...
def set_cuda_target(path: str, /) -> None: ...
def fits_natively() -> bool: ...
def plan(
    equation: str,
    stage: int,
    wanted: Sequence[bool],
    operands: tuple[Tensor, ...],
    nnz: int,
    cotangent: Tensor | None,
    /,
) -> Plan: ...
def train_plan(
    equation: str,
    stage: int,
    wanted: Sequence[bool],
    per_trial: Sequence[bool],
    operands: tuple[Tensor, ...],
    trials: int,
    nnz: int,
    ridge: str,
    /,
) -> Plan: ...
def plan_of_shapes(
    equation: str,
    stage: int,
    wanted: Sequence[bool],
    views: Sequence[tuple[Sequence[int], Sequence[int]]],
    dtype: int,
    nnz: int,
    /,
) -> Plan: ...
def run(
    plan: Plan,
    operands: tuple[Tensor, ...],
    output: Tensor | None,
    saved: Tensor | None,
    cotangent: Tensor | None,
    gradients: tuple[Tensor | None, ...] | None,
    scratch: Tensor | None,
    nnz: int,
    columns: Tensor | None,
    orders: tuple[Any, ...],
    loss: tuple[Any, ...] | None,
    threads: int,
    stream: int,
    trial: int,
    first_step: int,
    last_step: int,
    /,
) -> bool: ...
def fit(plan: Plan, /, *arguments: Any) -> None: ...
def hear_interrupts() -> None: ...
def unhear_interrupts() -> None: ...
def draw_batches(indices: Tensor, steps: int, size: int, count: int, seed: int, first: int, /) -> None: ...
def list_batches(
    indices: Tensor,
    steps: int,
    size: int,
    count: int,
    order: int,
    columns: Tensor,
    drawn: Tensor,
    orders: tuple[Any, ...],
    work: Tensor,
    /,
) -> None: ...
def why_not_lanes(plan: Plan, operands: tuple[Tensor, ...], watched: int, forced: bool, /) -> str: ...
def training_tier(plan: Plan, trials: int, threads: int, /) -> str: ...
def lanes_trace(plan: Plan, /, *arguments: Any) -> LanesStep: ...
def lanes_fit(step: LanesStep, plan: Plan, /, *arguments: Any) -> None: ...
def lane_product(
    equation: str, operands: tuple[Tensor, ...], broadcasts: bool, parts: tuple[Any, ...] | None, /
) -> Tensor | tuple[Any, ...] | None: ...
def lane_loss(
    equation: str,
    operands: tuple[Tensor, ...],
    kind: int,
    delta: float,
    values: Tensor,
    weights: Tensor | None,
    parts: tuple[Any, ...],
    /,
) -> tuple[Any, ...] | None: ...
def lane_backward(
    equation: str,
    saved_and_operands: tuple[Tensor | None, ...],
    wanted: int,
    cotangent: Tensor,
    parts: tuple[Any, ...] | None,
    /,
) -> tuple[Tensor | None, ...] | None: ...
def cached_plans() -> int: ...
def clear_plans() -> None: ...
