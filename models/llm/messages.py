"""Messages of a conversation: frozen values with a JSON form that loads again.

Texts keep what a model or a tool said, byte for byte, except lone surrogates: no UTF-8 text
can hold them, so they become U+FFFD when a value is made.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

from models.llm.errors import BadRequestError, MalformedReplyError
from models.llm.tokens import estimate_tokens

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")

IMAGE_TOKENS = 1_105
"""Estimate for one image: a 1024 x 1024 picture in OpenAI's tile rule (85 + 4 x 170 = 765) and
in Anthropic's (width x height / 750 = 1,398), between the two."""


_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Replace lone surrogates: they fit into no UTF-8 file or request."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _clean(value: object, *names: str) -> None:
    for name in names:
        text = getattr(value, name)
        if not text.isascii():
            object.__setattr__(value, name, clean(text))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal texts.

    Raises:
        BadRequestError: The value holds something that JSON cannot say (NaN, an object).
    """
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequestError(
            f"a request must be plain JSON, found {error}; replace that value"
        ) from None


@dataclass(frozen=True)
class Text:
    """A piece of text."""

    text: str
    kind: Literal["text"] = "text"

    def __post_init__(self) -> None:
        _clean(self, "text")


@dataclass(frozen=True)
class Image:
    """A picture: an address, or its bytes in base64 with a media type."""

    url: str = ""
    data: str = field(default="", repr=False)
    media_type: str = "image/png"
    kind: Literal["image"] = "image"

    def __post_init__(self) -> None:
        _clean(self, "url", "data", "media_type")
        if bool(self.url) == bool(self.data):
            raise BadRequestError("an image has either a url or data (base64): give exactly one")

    @property
    def address(self) -> str:
        """What an OpenAI-compatible request carries: the address, or a data URL."""
        return self.url or f"data:{self.media_type};base64,{self.data}"


@dataclass(frozen=True)
class Reasoning:
    """What a model thought aloud; `signature` lets its provider recognise it later."""

    text: str
    signature: str = ""
    redacted: bool = False
    kind: Literal["reasoning"] = "reasoning"

    def __post_init__(self) -> None:
        _clean(self, "text", "signature")


Part: TypeAlias = Text | Image | Reasoning


@dataclass(frozen=True)
class ToolCall:
    """A model asks for a tool. Arguments stay the text that the model wrote."""

    id: str
    name: str
    arguments: str = "{}"

    def __post_init__(self) -> None:
        _clean(self, "id", "name", "arguments")

    @classmethod
    def of(cls, call_id: str, name: str, arguments: dict[str, Any]) -> ToolCall:
        """Make a call from parsed arguments."""
        return cls(call_id, name, json.dumps(arguments, ensure_ascii=False))

    def parsed(self) -> dict[str, Any]:
        """Return the arguments as a mapping.

        Raises:
            MalformedReplyError: They are no JSON object, or name something twice.
        """
        try:
            value = json.loads(self.arguments or "{}", object_pairs_hook=_named_once)
        except (ValueError, RecursionError) as error:
            raise MalformedReplyError(
                f"call '{self.id}' of tool '{self.name}' has arguments that are no JSON "
                f"({error}); ask the model to repeat the call with one JSON object",
                text=self.arguments,
            ) from None
        if not isinstance(value, dict):
            raise MalformedReplyError(
                f"call '{self.id}' of tool '{self.name}' needs a JSON object of arguments, "
                f"found a {type(value).__name__}; ask the model to name each argument",
                text=self.arguments,
            )
        return value

    def plain(self) -> ToolCall:
        """Return this call with its arguments as a tool gets them: equal values, one spelling.

        Names are sorted, without spaces; only what cannot be printed is escaped. Whoever
        judges a call by its text (rules, hooks, people) looks at this one.

        Raises:
            MalformedReplyError: There are no such arguments.
        """
        text = json.dumps(self.parsed(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if not text.isprintable():
            for letter in {letter for letter in text if not letter.isprintable()}:
                text = text.replace(letter, json.dumps(letter)[1:-1])
        return self if text == self.arguments else replace(self, arguments=text)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Which of two values counts differs between readers: one could be judged, the other run.
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twice[:80]}' is named twice")
    return found


@dataclass(frozen=True)
class Message:
    """One turn. An assistant's may carry tool calls, a tool's answers one of them."""

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    is_error: bool = False
    """For a tool's message: the tool failed."""
    cache: bool = False
    """A hint: the conversation up to here will be sent again. Never changes the reply."""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise BadRequestError(
                f"no role named '{self.role}'; a message is of {', '.join(ROLES)}"
            )
        _clean(self, "tool_call_id", "name")
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "tool_calls", tuple(self.tool_calls))

    @property
    def text(self) -> str:
        """All text parts in one, without images and reasoning."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def reasoning(self) -> str:
        """All reasoning in one text."""
        return "".join(part.text for part in self.parts if isinstance(part, Reasoning))

    @property
    def has_images(self) -> bool:
        """Whether a picture is among the parts."""
        return any(isinstance(part, Image) for part in self.parts)

    # Kept with the message: a conversation sends the same ones again at each step, and the
    # cost of a step must not grow with the length of its history.
    @cached_property
    def canonical(self) -> str:
        """The JSON that digests read: everything but hints."""
        values = self.to_dict()
        values.pop("cache", None)
        return canonical_json(values)

    @cached_property
    def tokens(self) -> int:
        """Estimate of the tokens this message takes in a prompt, with its frame."""
        parts = sum(
            IMAGE_TOKENS if isinstance(part, Image) else estimate_tokens(part.text)
            for part in self.parts
        )
        calls = sum(estimate_tokens(call.name + call.arguments) + 12 for call in self.tool_calls)
        return 4 + parts + calls

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; fields at their defaults are left out."""
        values: dict[str, Any] = {"role": self.role}
        if self.parts:
            values["parts"] = [_part_to_dict(part) for part in self.parts]
        if self.tool_calls:
            values["tool_calls"] = [
                {"id": c.id, "name": c.name, "arguments": c.arguments} for c in self.tool_calls
            ]
        for key in ("tool_call_id", "name", "is_error", "cache"):
            if getattr(self, key):
                values[key] = getattr(self, key)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Message:
        """Load what `to_dict` wrote.

        Raises:
            BadRequestError: The values are of another shape.
        """
        try:
            return cls(
                role=values["role"],
                parts=tuple(_part_from_dict(part) for part in values.get("parts", ())),
                tool_calls=tuple(ToolCall(**call) for call in values.get("tool_calls", ())),
                tool_call_id=values.get("tool_call_id", ""),
                name=values.get("name", ""),
                is_error=values.get("is_error", False),
                cache=values.get("cache", False),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BadRequestError(
                f"a message needs role and parts, found something else ({error!r}); "
                "write it with Message.to_dict"
            ) from None


def system(text: str, *, cache: bool = False) -> Message:
    """Make a system message."""
    return Message("system", (Text(text),), cache=cache)


def user(*parts: str | Part, cache: bool = False) -> Message:
    """Make a user message of texts and pictures."""
    return Message("user", tuple(Text(p) if isinstance(p, str) else p for p in parts), cache=cache)


def assistant(text: str = "", *calls: ToolCall, reasoning: str = "") -> Message:
    """Make an assistant message."""
    parts: tuple[Part, ...] = (Reasoning(reasoning),) if reasoning else ()
    return Message("assistant", (*parts, Text(text)) if text else parts, calls)


def tool_result(call: ToolCall | str, text: str, *, is_error: bool = False) -> Message:
    """Make the answer to a tool call."""
    call_id, name = (call, "") if isinstance(call, str) else (call.id, call.name)
    return Message("tool", (Text(text),), tool_call_id=call_id, name=name, is_error=is_error)


def _part_to_dict(part: Part) -> dict[str, Any]:
    values = {key: value for key, value in vars(part).items() if value not in ("", False)}
    if isinstance(part, Image) and not part.data:
        values.pop("media_type", None)
    return values


def _part_from_dict(values: dict[str, Any]) -> Part:
    kinds: dict[str, type[Text] | type[Image] | type[Reasoning]] = {
        "text": Text,
        "image": Image,
        "reasoning": Reasoning,
    }
    kind = kinds.get(values["kind"])
    if kind is None:
        raise BadRequestError(f"no part of kind '{values['kind']}'; known: {', '.join(kinds)}")
    if kind is not Image:
        values = {"text": "", **values}
    return kind(**values)
