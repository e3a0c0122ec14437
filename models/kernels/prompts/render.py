"""Messages from templates."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.errors import unknown_name
from models.kernels.prompts.quoting import quoted

TEMPLATES = Path(__file__).parent / "templates"
EXAMPLES = Path(__file__).parent / "examples"
PROMPTS_VERSION = "1"
"""Recorded with every candidate: raised when a template changes."""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    # Nothing is escaped: prompts are text for models, and programs' output passes `quoted`.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=False, autoescape=False,
    )  # fmt: skip
    environment.filters["quoted"] = quoted
    return environment


def template_names() -> tuple[str, ...]:
    """Return the templates."""
    return tuple(sorted(file.stem for file in TEMPLATES.glob("*.jinja")))


def render(name: str, **values: Any) -> str:
    """Return a prompt.

    Args:
        name: Template, such as `initial` or `lint`.
        values: What it mentions; a missing one is an error of jinja2.

    Raises:
        UnknownNameError: No such template.
    """
    if name not in template_names():
        raise unknown_name("prompt", name, template_names())
    return _environment().get_template(f"{name}.jinja").render(**values).strip() + "\n"


def example_names() -> tuple[str, ...]:
    """Return the operators with a hand-made module: those that the paper shows its models."""
    return ("exp", "argmax", "diag")


@lru_cache(maxsize=8)
def example(op_id: str) -> str:
    """Return the hand-made module of an operator."""
    return (EXAMPLES / f"{op_id}.triton").read_text(encoding="utf-8").strip()
