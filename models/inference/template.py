"""Chat templates: a conversation becomes text, in a sandbox, as Hugging Face renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.errors import ConfigError


class TemplateInputError(ConfigError):
    """A conversation that the model's chat template refuses."""


class ChatTemplate:
    """A Jinja template with the model's special tokens at hand.

    Args:
        source: Text of the template.
        special: `bos_token`, `eos_token` and the like; None where the model has none.
    """

    def __init__(self, source: str, special: Mapping[str, str | None]) -> None:
        self.source = source
        self.special = {name: token for name, token in special.items() if token is not None}

    @cached_property
    def _template(self) -> jinja2.Template:
        # A template comes with the model's files: it must not reach anything but its input.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"the chat template is not valid Jinja: {error}") from None

    def render(self, messages: Sequence[Mapping[str, Any]], opens_answer: bool = True) -> str:
        """Return the text of a conversation.

        Args:
            messages: Role and content of each.
            opens_answer: End with what begins the model's answer.

        Raises:
            TemplateInputError: The template cannot take these messages.
        """
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=opens_answer, **self.special
            )
        except jinja2.TemplateError as error:
            raise TemplateInputError(str(error)) from None
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise TemplateInputError(f"{type(error).__name__}: {error}") from None


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
