"""JSON schemas: what a value breaks, and what a model is told about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from models.llm.errors import BadRequestError

_SHOWN = 5


def schema_problems(value: Any, schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a value breaks in a schema, most important first; empty when it fits.

    References to other addresses are not followed: a schema reaches no network.

    Raises:
        BadRequestError: The schema itself is none.
    """
    import jsonschema  # type: ignore[import-untyped]
    import referencing
    import referencing.exceptions

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        validator = kind(schema, registry=referencing.Registry())
        problems = sorted(validator.iter_errors(value), key=jsonschema.exceptions.relevance)
    except jsonschema.exceptions.SchemaError as error:
        raise BadRequestError(f"this is no JSON schema: {error.message}; mend it") from None
    except (referencing.exceptions.Unresolvable, RecursionError) as error:
        raise BadRequestError(
            f"the JSON schema cannot be applied ({type(error).__name__}: {str(error)[:200]}); "
            "write all of it in one document"
        ) from None
    return tuple(f"at {error.json_path}: {error.message[:300]}" for error in problems[:_SHOWN])


def schema_instructions(schema: Mapping[str, Any]) -> str:
    """Tell a model that cannot be constrained what to write."""
    return (
        "Answer with one JSON value and nothing else: no explanation, no code fence. "
        f"It must fit this JSON schema:\n{json.dumps(dict(schema), ensure_ascii=False)}"
    )
