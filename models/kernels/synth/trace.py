"""Trace an operator to primitives with symbolic sizes, once per structure key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from models.kernels.synth.decompose import (
    hand_written_functions,
    own_functions,
    own_rules,
)
from models.kernels.synth.primitives import derived_sizes
from models.kernels.synth.structure import Leaf

_KEPT = (
    "aten::slice.Tensor",
    "aten::cumsum",
    "aten::cumprod",
    "aten::flip",
    "aten::roll",
    "aten::index_select",
    "aten::copysign.Tensor",
    "aten::diagonal",
    "aten::split",
    "aten::split_with_sizes",
    "aten::unbind",
    "aten::unfold",
    "aten::select",
    "aten::slice_scatter",
    "aten::select_scatter",
    "aten::diagonal_scatter",
    "aten::index_add",
    "aten::index_copy",
    "aten::index_put",
    "aten::index_fill",
    "aten::scatter",
    "aten::scatter_add",
    "aten::scatter_reduce",
    "aten::sort",
    "aten::topk",
    "aten::heaviside",
    "aten::avg_pool1d",
    "aten::avg_pool2d",
    "aten::avg_pool3d",
    "aten::max_pool2d_with_indices",
    "aten::max_pool3d_with_indices",
    "aten::adaptive_max_pool2d",
    "aten::adaptive_max_pool3d",
    "aten::_adaptive_avg_pool2d",
    "aten::searchsorted",
    "aten::bucketize",
    "aten::take",
    "aten::cummax",
    "aten::cummin",
    "aten::logcumsumexp",
    "aten::complex",
    "aten::polar",
)
"""Rules left out: these operators decompose into worse kernels than their own rule here gives."""


@dataclass(frozen=True)
class Trace:
    """What an operator does with calls of one structure."""

    graph: Any
    """torch.fx.Graph over primitives, with fake values in `meta`."""
    constants: Mapping[str, Any]
    """Tensors that the operator makes itself, by name in the graph."""
    inputs: tuple[tuple[str, Any], ...]
    """Host text and value of each placeholder."""
    symbols: Mapping[Any, str]
    """Host text by symbol of a size or number."""
    guards: tuple[Any, ...]
    """Relations between symbols under which the graph holds."""
    derived: Mapping[Any, Any]
    """Expression over the symbols by symbol that stands for it."""
    by_hand: frozenset[str] = frozenset()
    """Functions of torch that were spelled out by hand for one operator each."""


@lru_cache(maxsize=1)
def decompositions() -> dict[Any, Any]:
    """Return the decomposition table: all of torch._decomp with refs and prims, without `_KEPT`."""
    import torch._decomp
    import torch._refs

    kept = {}
    for overload, rule in torch._decomp.decomposition_table.items():
        name = str(overload.name())  # type: ignore[no-untyped-call]
        if not any(name == one or name.startswith(f"{one}.") for one in _KEPT):
            kept[overload] = rule
    return {**kept, **own_rules()}


def _stand_ins(used: set[str]) -> Any:
    """Return a context in which functions of our own stand for torch's, wherever one is called.

    Args:
        used: Gets the names of those that were spelled out by hand for one operator.
    """
    from torch.overrides import TorchFunctionMode

    table, by_hand = own_functions(), hand_written_functions()

    class StandIns(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function in by_hand:
                used.add(function.__name__)
            return table.get(function, function)(*args, **(kwargs or {}))

    return StandIns()


def trace(
    function: Callable[..., Any],
    rebuild: Callable[[Callable[[str, Any], Any]], tuple[list[Any], dict[str, Any]]],
    listed: list[Leaf],
    is_whole: bool = False,
) -> Trace:
    """Trace a call.

    Args:
        function: The operator.
        rebuild: Builds the call's arguments, given a replacement of each leaf by path.
        listed: The call's leaves: tensors and open numbers become symbols.
        is_whole: Keep ATen's own operators instead of their decompositions.

    Raises:
        Exception: Whatever the operator or its rules raise on symbolic values.
    """
    import torch
    from torch._dispatch.python import enable_python_dispatcher
    from torch._dynamo.source import ConstantSource
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import (
        DimDynamic,
        ShapeEnv,
        StatelessSymbolicContext,
    )

    env = ShapeEnv(duck_shape=False, specialize_zero_one=True)
    mode = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
    symbols: dict[Any, str] = {}
    inputs: list[tuple[str, Any]] = []
    by_hand = {function.__name__} if function in hand_written_functions() else set[str]()
    for place, leaf in enumerate(listed):
        source = ConstantSource(f"a{place}")
        if leaf.kind == "tensor":
            plain = torch.empty(leaf.value.shape, dtype=leaf.value.dtype)
            context: Any = StatelessSymbolicContext(
                dynamic_sizes=[DimDynamic.DYNAMIC] * plain.dim()
            )
            fake: Any = mode.from_tensor(plain, symbolic_context=context, source=source)
            for dim, size in enumerate(fake.shape):
                if isinstance(size, torch.SymInt):
                    symbols[size.node.expr] = f"{leaf.path}.shape[{dim}]"
        elif leaf.kind == "size":
            symbol = env.create_symbol(leaf.value, source, dynamic_dim=DimDynamic.DYNAMIC)
            fake = env.create_symintnode(symbol, hint=leaf.value, source=source)
            symbols[symbol] = leaf.path
        elif leaf.kind == "number":
            symbol = env.create_unspecified_symbol(
                leaf.value, source, dynamic_dim=DimDynamic.DYNAMIC
            )
            fake = env.create_symintnode(symbol, hint=leaf.value, source=source)
            symbols[symbol] = leaf.path
        elif leaf.kind == "float":
            symbol = env.create_unspecified_symbol(
                leaf.value, source, dynamic_dim=DimDynamic.DYNAMIC
            )
            fake = env.create_symfloatnode(symbol, hint=leaf.value, source=source)
            symbols[symbol] = leaf.path
        else:
            continue
        inputs.append((leaf.path, fake))

    def called(*values: Any) -> Any:
        given = {path: value for (path, _), value in zip(inputs, values, strict=True)}
        args, kwargs = rebuild(lambda path, value: given.get(path, value))
        result = own_functions().get(function, function)(*args, **kwargs)
        return list(result) if isinstance(result, tuple) else result

    # Composite operators in C++ would ask for concrete sizes; their Python forms do not.
    with (
        mode,
        torch.no_grad(),
        enable_python_dispatcher(),
        derived_sizes() as derived,
        _stand_ins(by_hand),
    ):
        table = {} if is_whole else decompositions()
        module = make_fx(called, decomposition_table=table, tracing_mode="real")(
            *(fake for _, fake in inputs)
        )
    graph = module.graph
    graph.eliminate_dead_code()
    constants = {
        node.target: getattr(module, node.target) for node in graph.nodes if node.op == "get_attr"
    }
    return Trace(
        graph,
        constants,
        tuple(inputs),
        symbols,
        tuple(dict.fromkeys(guard.expr.xreplace(derived) for guard in env.guards)),
        derived,
        frozenset(by_hand),
    )
