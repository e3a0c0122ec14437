"""Images at other resolutions: pixels to channels and back, antialiased filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.reduction import summed
from models.kernels.synth.emit.slices import guarded
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.emit.window import adaptive_width
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of


def _divided(kernel: Kernel, place: str, by: str) -> tuple[str, str]:
    """Return quotient and rest."""
    quotient = kernel.let(f"{place} // {by}", "int64").text
    return quotient, kernel.let(f"{place} % {by}", "int64").text


def _shuffled(is_inverse: bool) -> Callable[[Lowering, Any], Value]:
    """Return the rule of pixel_shuffle: channel c r^2 + i r + j holds pixels (i, j) mod r of c."""

    def rule(low: Lowering, node: Any) -> Value:
        source, factor = low.value(node.args[0]), low.arg(node.args[1])

        def load(kernel: Kernel, index: Index) -> Var:
            r = kernel.number(low.host.text(factor))
            c, y, x = (place_of(kernel, place) for place in index[-3:])
            if is_inverse:
                rest, j = _divided(kernel, c, r)
                c, i = _divided(kernel, rest, r)
                own = [
                    c,
                    kernel.let(f"{y} * {r} + {i}", "int64").text,
                    kernel.let(f"{x} * {r} + {j}", "int64").text,
                ]
            else:
                (y, i), (x, j) = _divided(kernel, y, r), _divided(kernel, x, r)
                own = [kernel.let(f"({c} * {r} + {i}) * {r} + {j}", "int64").text, y, x]
            return source.at(kernel, (*index[:-3], *own))

        shape = sizes_of(node.meta["val"].shape)
        return low.pointwise(shape, source.dtype, load, [source])

    return rule


def _filtered(
    low: Lowering, source: Value, dim: int, count: Size, given: Any, align_corners: bool
) -> Value:
    """Return a value resampled along a dimension by a triangle as wide as a result's pixel.

    Args:
        low: The program.
        source: Its pixels.
        dim: The dimension.
        count: Pixels of the result along it.
        given: Scale that the caller gave, or None for the quotient of the sizes.
        align_corners: Whether the centres of the outermost pixels meet.
    """
    size = source.shape[dim]
    held = "float64" if source.dtype == "float64" else "float32"
    ratio = adaptive_width(size, count)
    shape = (*source.shape[:dim], count, *source.shape[dim + 1 :])

    def tap(kernel: Kernel, index: Index) -> tuple[str, str, str]:
        """Return where a tap lies, the test that it counts, and its weight."""
        one = kernel.let(f"{kernel.zero()} + 1", "int64").text
        n, m = (kernel.number(low.host.text(total)) for total in (size, count))
        if align_corners:
            steps = kernel.let(f"tl.where({one} * {m} > 1, {one} * {m} - 1, 1)", "int64").text
            text = f"({one} * {n} - 1).to(tl.{held}) / {steps}.to(tl.{held})"
            text = f"tl.where({one} * {m} > 1, {text}, 0.0)"
        elif given is None:
            text = f"({one} * {n}).to(tl.{held}) / ({one} * {m}).to(tl.{held})"
        else:
            # ATen inverts the scale in double precision: so does the host.
            text = f"{one}.to(tl.{held}) * ({low.operand(kernel, 1 / given).text})"
        scale = kernel.let(text, held).text
        reach = kernel.let(f"tl.where({scale} > 1.0, {scale}, 1.0)", held).text
        i = kernel.let(f"{place_of(kernel, index[dim])}.to(tl.{held})", held).text
        centre = kernel.let(f"{scale} * ({i} + 0.5)", held).text
        first = kernel.let(f"({centre} - {reach} + 0.5).to(tl.int64)", "int64").text
        first = kernel.let(f"tl.where({first} > 0, {first}, 0)", "int64").text
        last = kernel.let(f"({centre} + {reach} + 0.5).to(tl.int64)", "int64").text
        at = kernel.let(f"{first} + {place_of(kernel, index[-1])}", "int64").text
        test = kernel.let(f"({at} < {last}) & ({at} < {n})", "bool").text
        away = f"tl.abs(({at}.to(tl.{held}) - {centre} + 0.5) / {reach})"
        away = kernel.let(away, held).text
        weight = kernel.let(f"tl.where({test} & ({away} < 1.0), 1.0 - {away}, 0.0)", held).text
        return at, test, weight

    def term(kernel: Kernel, index: Index) -> Var:
        at, test, weight = tap(kernel, index)
        own = (*index[:dim], "0" if is_one(size) else at, *index[dim + 1 : -1])
        element = kernel.convert(guarded(kernel, source, own, test), held)
        return kernel.let(f"tl.where({test}, {element.text} * {weight}, 0.0)", held)

    def alone(kernel: Kernel, index: Index) -> Var:
        _, _, weight = tap(kernel, ("0",) * dim + index)
        return Var(weight, held)

    taps = 2 * ratio + 1
    total = summed(low, low.pointwise((*shape, taps), held, term, [source]), [-1], shape, held)
    weights = low.pointwise((count, taps), held, alone, [])
    norm = summed(low, weights, [-1], (count,), held)

    def load(kernel: Kernel, index: Index) -> Var:
        whole, parts = total.at(kernel, index), norm.at(kernel, (index[dim],))
        return kernel.let(f"{whole.text} / {parts.text}", held)

    return low.pointwise(shape, held, load, [total, norm])


def _antialiased(low: Lowering, node: Any) -> Value:
    """Two passes of a triangle filter, columns first."""
    source, align_corners = low.value(node.args[0]), bool(low.arg(node.args[2]))
    fake = node.meta["val"]
    shape, dtype = sizes_of(fake.shape), dtype_of(fake)
    scales = [*[low.arg(one) for one in node.args[3:5]], None, None][:2]
    across = _filtered(low, source, 3, shape[3], scales[1], align_corners)
    whole = _filtered(low, across, 2, shape[2], scales[0], align_corners)
    return low.pointwise(
        shape, dtype, lambda kernel, index: kernel.convert(whole.at(kernel, index), dtype), [whole]
    )


RULES: dict[str, Callable[..., Any]] = {
    "aten._upsample_bilinear2d_aa": _antialiased,
    "synth.pixel_shuffle": _shuffled(False),
    "synth.pixel_unshuffle": _shuffled(True),
}
