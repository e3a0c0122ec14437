"""What a server answered, as an observation of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from models.agents.tools.base import Observation
from models.agents.tools.context import ToolContext
from models.llm import Image
from models.sandbox.capture import Capture

if TYPE_CHECKING:
    import mcp_types

MOST_CHARACTERS = 30_000
"""Of the text that a model reads, as of the terminal."""
_MOST_IMAGES = 8
_MOST_IMAGE_CHARACTERS = 7_000_000
"""Of one image in base64: some 5 MB."""
_MOST_DATA_BYTES = 65_536
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def observed(
    result: mcp_types.CallToolResult, ctx: ToolContext, origin: Mapping[str, Any]
) -> Observation:
    """Return an answer as a model and people read it.

    Args:
        result: Of the server.
        ctx: Of the call; a text that is too long is kept whole beside its workspace.
        origin: What `data` says of where it comes from.
    """
    texts: list[str] = []
    images: list[Image] = []
    for block in result.content:
        text, image = _block(block, len(images) < _MOST_IMAGES)
        texts += [text] if text else []
        images += [image] if image else []
    data = dict(origin)
    if result.structured_content is not None:
        plain = orjson.dumps(result.structured_content)
        if not texts:
            texts.append(plain.decode())
        if len(plain) <= _MOST_DATA_BYTES:
            data["structured"] = result.structured_content
    said = "\n".join(texts)
    if not said:
        said = "the server answered with an image" if images else "done, without a word"
    return Observation(_cut(said, ctx), result.is_error, tuple(images), data)


def _block(block: Any, takes_images: bool) -> tuple[str, Image | None]:
    match block.type:
        case "text":
            return block.text, None
        case "image":
            kind, size = block.mime_type, len(block.data)
            if kind in _IMAGES and takes_images and 0 < size <= _MOST_IMAGE_CHARACTERS:
                return "", Image(data=block.data, media_type=kind)
            return f"[an image of type {kind}, {size * 3 // 4:,} bytes, is not shown]", None
        case "audio":
            return f"[audio of type {block.mime_type}, {len(block.data) * 3 // 4:,} bytes]", None
        case "resource_link":
            return f"[resource {block.name}: {block.uri}]", None
        case "resource":
            held = block.resource
            if hasattr(held, "text"):
                return f"[resource {held.uri}]\n{held.text}", None
            return f"[resource {held.uri}, {len(held.blob) * 3 // 4:,} bytes]", None
    return f"[content of type {block.type}]", None


def _cut(text: str, ctx: ToolContext) -> str:
    """Cut a text in the middle, and keep all of it where commands can read it."""
    if len(text) <= MOST_CHARACTERS:
        return text
    make: Callable[[int], Capture] | None = getattr(ctx.workspace.sandbox, "capture", None)
    if make is None:
        half = MOST_CHARACTERS // 2
        note = f"\n[... {len(text) - 2 * half:,} of {len(text):,} characters cut ...]\n"
        return text[:half] + note + text[-half:]
    capture = make(MOST_CHARACTERS)
    capture.add(text.encode())
    seen = capture.seen()
    capture.close()
    return seen.text
