"""The signature that one wrapper needs to serve every public sample of an operator.

OpInfo calls some operators by several overloads, some as methods, some with arguments that ATen's
schema lacks. The catalogue keeps the outcome, so that the linter, every proposer and the reader
see the same signature, and none of them chooses it.
"""

from __future__ import annotations

from models.kernels.operators.spec import OperatorSpec

_ROUNDS = 3
"""Types of `Any` parameters settle after the second round at the latest (of 572 operators)."""


def served_schema(spec: OperatorSpec) -> str:
    """Return the schema that binds every public sample; imports torch.

    Args:
        spec: An operator whose `schema_text` and `overloads` are torch's own.
    """
    from models.kernels.samples.streams import stream
    from models.kernels.synth.calls import Call, serving_signature

    calls = [
        Call(sample.function, sample.args, sample.kwargs)
        for dtype in spec.dtypes
        for sample in stream(spec.op_id, "S", dtype)
    ]
    schema = spec.schema_text
    if not calls:
        return schema
    for _ in range(_ROUNDS):
        found = serving_signature(spec.op_id, schema, spec.overloads, calls).schema
        if found == schema:
            break
        schema = found
    return schema
