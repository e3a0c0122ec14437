"""What servers say that their tools are: from sessions, from files, and as one digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from models.detection.sensor.jsonl import without_surrogates
from models.detection.session import Session, ToolManifest
from models.errors import DataError

_FIELDS = ("title", "description", "input_schema", "output_schema", "annotations")


class Declared(ToolManifest, frozen=True, omit_defaults=True):
    """A manifest with all that the protocol lets a server say; logs of agents keep less of it."""

    is_whole: bool = True


def said(manifest: ToolManifest) -> dict[str, Any]:
    """Return what a manifest says by field; what its record does not keep is not in it."""
    # Lone surrogates, which a server may send or write in its source, fit into no file.
    values = {name: without_surrogates(getattr(manifest, name)) for name in _FIELDS}
    # Source, SDKs and logs indent the same description in ways of their own.
    values["description"] = " ".join(values["description"].split())
    if manifest.is_whole:
        return {name: value or None for name, value in values.items()}
    kept = {name: value for name, value in values.items() if value not in (None, "")}
    if manifest.input_schema is not None:
        # Who keeps schemas keeps descriptions too: here an empty one is what the server said.
        kept["description"] = values["description"] or None
    return kept


def digest_of(told: dict[str, Any]) -> str:
    """Return the SHA-256 of what a manifest says, keys in order, hexadecimal."""
    raw = msgspec.json.encode(without_surrogates(told), order="sorted", enc_hook=str)
    return hashlib.sha256(raw).hexdigest()


def of_sessions(sessions: Iterable[Session]) -> list[ToolManifest]:
    """Return the manifests of sessions in the order in which they were said."""
    found = [manifest for session in sessions for manifest in session.manifests]
    # Records without times stay where they are: before what comes later in the same list.
    return sorted(found, key=lambda one: one.seen_s or 0.0)


def of_listing(value: Any, server: str, seen_s: float | None = None) -> list[Declared]:
    """Return the tools of an answer to `tools/list`.

    Args:
        value: The whole JSON-RPC answer, its result, or the list itself.
        server: Name of the server; a `serverInfo` or `server` beside the list counts more.
        seen_s: When it was said, in seconds since 1970.
    """
    if isinstance(value, dict) and isinstance(value.get("result"), dict):
        value = value["result"]
    if isinstance(value, dict):
        info = value.get("serverInfo")
        named = info.get("name") if isinstance(info, dict) else value.get("server")
        server = named if isinstance(named, str) and named else server
        value = value.get("tools")
    found = []
    for tool in value if isinstance(value, list) else ():
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            continue
        found.append(
            Declared(
                server, tool["name"], _text(tool.get("description")),
                _object(tool.get("inputSchema", tool.get("input_schema"))), seen_s,
                _text(tool.get("title")),
                _object(tool.get("outputSchema", tool.get("output_schema"))),
                _object(tool.get("annotations")),
            )
        )  # fmt: skip
    return found


def is_listing(value: Any) -> bool:
    """Return whether a value is an answer to `tools/list`."""
    if isinstance(value, dict) and isinstance(value.get("result"), dict):
        value = value["result"]
    tools = value.get("tools") if isinstance(value, dict) else None
    return isinstance(tools, list) and all(isinstance(one, dict) and "name" in one for one in tools)


def read_listing(path: Path, server: str = "") -> list[Declared]:
    """Read a file with an answer to `tools/list`.

    Args:
        path: JSON.
        server: Name of the server; empty: what the file says, else its own name.

    Raises:
        DataError: It is no JSON, or lists no tools.
    """
    try:
        value = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path} is no JSON file with tools ({error})") from None
    if not is_listing(value):
        raise DataError(f"{path} lists no tools; it should be an answer to tools/list of MCP")
    return of_listing(value, server or path.stem)


def latest(manifests: Iterable[ToolManifest]) -> dict[tuple[str, str], ToolManifest]:
    """Return the last manifest of each tool, by server and tool."""
    return {(one.server, one.tool): one for one in manifests}


def texts_of(manifest: ToolManifest) -> Iterator[tuple[str, str]]:
    """Yield what a model reads of a manifest, with where it stands in it."""
    yield "its name", manifest.tool
    if manifest.title:
        yield "its title", manifest.title
    if manifest.description:
        yield "its description", manifest.description
    for schema in (manifest.input_schema, manifest.output_schema):
        yield from _of_schema(schema, "")


_DEEPEST = 12
_PROSE = ("description", "title", "default", "const")


def _of_schema(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield descriptions, defaults and choices of a schema: an order hides in any of them."""
    if depth > _DEEPEST or not isinstance(value, dict):
        return
    for key in _PROSE:
        if isinstance(value.get(key), str):
            yield (
                (f"the {key} of argument '{path}'" if path else f"the {key} of its schema"),
                value[key],
            )
    for choice in value.get("enum", ()) if isinstance(value.get("enum"), list) else ():
        if isinstance(choice, str):
            yield f"a choice of argument '{path}'", choice
    for key, inner in value.items():
        if key in ("properties", "$defs", "definitions") and isinstance(inner, dict):
            for name, one in inner.items():
                yield f"the name of argument '{name}'", name
                yield from _of_schema(one, str(name), depth + 1)
        elif key in ("anyOf", "oneOf", "allOf") and isinstance(inner, list):
            for one in inner:
                yield from _of_schema(one, path, depth + 1)
        elif key in ("items", "additionalProperties"):
            yield from _of_schema(inner, path, depth + 1)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
