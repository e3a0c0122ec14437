"""Compiles that are remembered, one file each by the SHA-256 of what was asked."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from models.errors import DatasetUnreadableError
from models.sharding.compile.result import Compiled


def text_file(cache: Path, key: str) -> Path:
    """Return where the text of a program is kept."""
    return cache / f"{key}.hlo.gz"


def recall(cache: Path, key: str) -> Compiled | None:
    """Return a remembered compile; None where there is none, or it is damaged in any way."""
    text = text_file(cache, key)
    try:
        values = json.loads((cache / f"{key}.json").read_text(encoding="utf-8"))
        found = Compiled.from_json(values)
        if found.key != key:
            return None
        if not found.hlo_digest:
            return replace(found, is_cached=True)
        data = gzip.decompress(text.read_bytes())
        if hashlib.sha256(data).hexdigest() != found.hlo_digest:
            return None
    except (OSError, EOFError, ValueError, AttributeError, DatasetUnreadableError):
        return None
    return replace(found, hlo_file=text, is_cached=True)


def remember(cache: Path, found: Compiled, text: Path | None) -> Compiled:
    """Keep a compile: the text first, so that whoever finds the answer finds the text too.

    Args:
        cache: Folder, made where it is missing.
        found: The compile.
        text: Compressed text of the program, on the same disk as the cache; moved.
    """
    cache.mkdir(parents=True, exist_ok=True)
    kept = None
    if text is not None:
        kept = text_file(cache, found.key)
        os.replace(text, kept)
    descriptor, name = tempfile.mkstemp(prefix="compile-", suffix=".tmp", dir=cache)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(found.to_json(), file)
        os.replace(name, cache / f"{found.key}.json")
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return replace(found, hlo_file=kept)
