"""Values of records as what we need, whatever they are; nothing in here raises but `need_*`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from models.detection.sensor.jsonl import BadRecordError, decode

_MILLISECONDS_FROM = 1e11
"""Seconds reach this in the year 5138; what is larger counts milliseconds."""

_TEXTS = frozenset(("text", "input_text", "output_text", "summary_text", "reasoning_text"))
_MCP = re.compile(r"mcp__(.+?)__(.+)", re.DOTALL)


class Content(NamedTuple):
    """What a message or result says.

    Attributes:
        text: Its texts with line ends between; blocks of unknown kinds as JSON.
        images: A sentence for each picture or file: its type, size and digest.
        unknown: Kinds of blocks that are not known.
    """

    text: str
    images: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def text(value: Any) -> str:
    """Return a text as it is, nothing for None, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def mapping(value: Any) -> dict[str, Any]:
    """Return an object, or an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return an array, or an empty one."""
    return value if isinstance(value, list) else []


def name(value: Any) -> str:
    """Return a text that names something; anything else names nothing."""
    return value if isinstance(value, str) else ""


def need_mapping(value: Any, what: str) -> dict[str, Any]:
    """Return an object.

    Raises:
        BadRecordError: It is none.
    """
    if not isinstance(value, dict):
        raise BadRecordError(f"{what} is a {type(value).__name__} and no object")
    return value


def seconds(value: Any) -> float | None:
    """Return seconds since 1970 of an ISO 8601 text, of seconds or of milliseconds."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                return None
        else:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number) or number <= 0:
        return None
    return number / 1000 if number > _MILLISECONDS_FROM else number


def arguments(value: Any) -> tuple[dict[str, Any] | None, str]:
    """Return the arguments of a call by name, and as written where they are no object."""
    if isinstance(value, dict):
        return value, ""
    if isinstance(value, str):
        try:
            decoded = decode(value.encode("utf-8", "replace")).value
        except BadRecordError:
            return None, value
        return (decoded, "") if isinstance(decoded, dict) else (None, value)
    return None, text(value)


def split_tool(full: str) -> tuple[str, str]:
    """Split `mcp__server__tool` into server and tool; other names have no server."""
    match = _MCP.fullmatch(full)
    return (match[1], match[2]) if match else ("", full)


def content(value: Any) -> Content:
    """Read what the content of a message or result may be: a text, a block, a list of them.

    Blocks are those of Anthropic, OpenAI, MCP and Gemini.
    """
    if isinstance(value, str) or value is None:
        return Content(value or "")
    texts: list[str] = []
    images: list[str] = []
    unknown: list[str] = []
    for block in value if isinstance(value, list) else [value]:
        found = _block(block)
        if found.text:
            texts.append(found.text)
        images += found.images
        unknown += found.unknown
    return Content("\n".join(texts), tuple(images), tuple(unknown))


def _block(block: Any) -> Content:
    if not isinstance(block, dict):
        return Content(text(block))
    kind = name(block.get("type"))
    if kind in _TEXTS or (not kind and isinstance(block.get("text"), str)):
        return Content(text(block.get("text")))
    if kind in ("image", "input_image", "image_url", "document", "audio", "file"):
        return _media(block, kind)
    if kind == "resource" and (resource := mapping(block.get("resource"))):
        if isinstance(resource.get("text"), str):
            return Content(resource["text"])
        return Content("", (_notice("resource", resource.get("blob"), resource.get("mimeType")),))
    if not kind and "inlineData" in block:
        inline = mapping(block["inlineData"])
        return Content("", (_notice("image", inline.get("data"), inline.get("mimeType")),))
    if not kind and "functionResponse" in block:
        return _response(mapping(block["functionResponse"]))
    return Content(text(block), (), (kind or "block without a type",))


def _response(answer: Mapping[str, Any]) -> Content:
    response = answer.get("response")
    for key in ("output", "error", "result", "content"):
        if isinstance(response, dict) and len(response) == 1 and key in response:
            return content(response[key])
    return Content(text(response))


def _media(block: Mapping[str, Any], kind: str) -> Content:
    source = block.get("source", block)
    if isinstance(source, dict) and source.get("type") == "text":
        return Content(text(source.get("data")))
    address = block.get("image_url", block.get("url"))
    if isinstance(address, dict):
        address = address.get("url")
    source = mapping(source)
    data = source.get("data") or block.get("image_urls") or address or source.get("url")
    media = source.get("media_type") or source.get("mimeType") or source.get("mime_type")
    return Content("", (_notice(kind, data, media),))


def _notice(kind: str, data: Any, media: Any) -> str:
    whole = text(data).encode("utf-8", "replace")
    address = name(data) if len(whole) <= 2_000 and b"://" in whole[:12] else ""
    digest = hashlib.sha256(whole).hexdigest()
    words = [kind, name(media), f"{len(whole)} bytes as written", f"sha256 {digest}", address]
    return ", ".join(word for word in words if word)
