"""Recorded calls: written once with a live model, played again without one.

A cassette is JSONL, one call per line: the request's digest, the request for people, and the
reply, its chunks or its error. Secrets are struck out before anything is written, and digests
are taken after that, so a recording plays on a machine with other keys.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from models.errors import StorageFullError, is_storage_full
from models.llm import errors
from models.llm.base import Capabilities, LanguageModel, Model
from models.llm.errors import CassetteError, LanguageModelError
from models.llm.reply import Reply, Stream, chunks_of
from models.llm.request import Options, Prompt, Request
from models.llm.secrets import redact

Mode = Literal["replay", "record", "auto"]

VERSION = 1


class CassetteModel(Model):
    """Plays or records the calls of a model.

    The same request asked again gets the next recording of it; when all are played, an error.

    Args:
        file: The JSONL file.
        inner: The model to record; None: replay only.
        mode: `replay` never calls; `record` calls always and appends; `auto` replays what is
            there and records the rest.
        strict: Replay in the recorded order only.

    Raises:
        CassetteError: The file cannot be read, or there is nothing to record from.
    """

    def __init__(
        self,
        file: Path,
        inner: LanguageModel | None = None,
        *,
        mode: Mode = "replay",
        strict: bool = False,
    ) -> None:
        if mode != "replay" and inner is None:
            raise CassetteError(
                f"cassette {file}: mode '{mode}' needs a model to record; give `inner`"
            )
        capabilities = inner.capabilities if inner else Capabilities(images=True, cache=True)
        name = f"cassette:{file.name}"
        price = inner.price if inner else None
        super().__init__(name, replace(capabilities, source="replayed"), price)
        self._file = file
        self._inner = inner
        self._mode: Mode = mode
        self._strict = strict
        self._lock = threading.Lock()
        self._entries = [] if mode == "record" and not file.exists() else self._read()
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, entry in enumerate(self._entries):
            self._places[entry["digest"]].append(place)
        self._played = 0

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Count as the recorded model does, where it is at hand."""
        if self._inner is not None:
            return self._inner.count_tokens(prompt, options)
        return super().count_tokens(prompt, options)

    async def aclose(self) -> None:
        """Close the recorded model."""
        if self._inner is not None:
            await self._inner.aclose()

    async def _generate(self, request: Request) -> Reply:
        clean = redacted(request)
        entry = None if self._mode == "record" else self._find(clean)
        if entry is not None:
            return self._play(entry)
        assert self._inner is not None
        try:
            reply = await self._inner.generate(request)
        except LanguageModelError as error:
            self._write(clean, error)
            raise
        self._write(clean, reply)
        return reply

    async def _stream(self, request: Request) -> Stream:
        clean = redacted(request)
        entry = None if self._mode == "record" else self._find(clean)
        if entry is not None:
            for chunk in chunks_of(self._play(entry)):
                yield chunk
            return
        assert self._inner is not None
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    if chunk.reply is not None:
                        self._write(clean, chunk.reply)
                    yield chunk
        except LanguageModelError as error:
            self._write(clean, error)
            raise

    def _find(self, request: Request) -> dict[str, Any] | None:
        """Return the next recording of a request; None where it is to be recorded."""
        with self._lock:
            if self._strict and self._played < len(self._entries):
                entry = self._entries[self._played]
                if entry["digest"] == request.digest:
                    self._played += 1
                    return entry
                raise CassetteError(
                    f"{self.name}: call {self._played + 1} of the recording is another request "
                    f"({_difference(entry, request)}); record again, or replay without strict order"
                )
            places = self._places.get(request.digest)
            if places:
                self._played += 1
                return self._entries[places.pop(0)]
        if self._inner is not None:
            return None
        raise CassetteError(
            f"{self.name} has no recording left of this request; {self._nearest(request)}; record "
            f"it with language_model('cassette:{self._file}', record='PROVIDER/MODEL'), or with "
            "LOOM_LLM_LIVE on and CassetteModel(file, inner, mode='auto')"
        )

    def _play(self, entry: dict[str, Any]) -> Reply:
        if "error" in entry:
            values = dict(entry["error"])
            kind = getattr(errors, values.pop("type"), LanguageModelError)
            raise kind(values.pop("message"), **values)
        try:
            return replace(Reply.from_dict(entry["reply"]), source="replayed")
        except (KeyError, TypeError, ValueError) as error:
            raise CassetteError(
                f"{self.name}: the reply of {entry['digest'][:12]} cannot be read ({error!r}); "
                "record it again"
            ) from None

    def _nearest(self, request: Request) -> str:
        """Say how the recording that is most like a request differs from it."""
        texts = [message.canonical for message in request.messages]

        def likeness(entry: dict[str, Any]) -> int:
            theirs = Request.from_dict(entry["request"]).messages
            pairs = zip(texts, theirs, strict=False)
            return sum(mine == message.canonical for mine, message in pairs)

        if not self._entries:
            return "the cassette is empty"
        best = max(self._entries, key=likeness)
        if best["digest"] == request.digest:
            return "its recordings are all played (each is played once)"
        return f"the nearest one differs: {_difference(best, request)}"

    def _read(self) -> list[dict[str, Any]]:
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            if self._mode == "auto":
                return []
            raise CassetteError(
                f"cassette {self._file} does not exist; record it with "
                f"language_model('cassette:{self._file}', record='PROVIDER/MODEL')"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise CassetteError(f"cassette {self._file} cannot be read ({error})") from None
        entries = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                if entry["v"] != VERSION:
                    raise ValueError(f"version {entry['v']}")
                if not isinstance(entry["digest"], str) or not ({"reply", "error"} & set(entry)):
                    raise ValueError("no reply and no error")
                entries.append(entry)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise CassetteError(
                    f"cassette {self._file}, line {number} is no recording ({error!r}); remove the "
                    "line and record that call again"
                ) from None
        return entries

    def _write(self, request: Request, outcome: Reply | LanguageModelError) -> None:
        entry: dict[str, Any] = {"v": VERSION, "digest": request.digest}
        if isinstance(outcome, Reply):
            entry["reply"] = outcome.to_dict()
        else:
            kept = {key: value for key, value in vars(outcome).items() if _is_plain(value)}
            entry["error"] = {"type": type(outcome).__name__, "message": str(outcome), **kept}
        entry["request"] = request.to_dict()
        line = json.dumps(_redact_values(entry), ensure_ascii=False) + "\n"
        # One write per line: also two processes that record together keep their lines whole.
        try:
            with self._lock, self._file.open("ab") as file:
                file.write(line.encode())
        except OSError as error:
            if is_storage_full(error):
                raise StorageFullError(
                    error.errno, f"cassette {self._file} cannot grow: the disk is full"
                ) from error
            raise CassetteError(f"cassette {self._file} cannot be written ({error})") from None


def redacted(request: Request) -> Request:
    """Return the request without secrets: what is written, and what digests are taken of."""
    values = request.to_dict()
    clean = _redact_values(values)
    return request if clean == values else Request.from_dict(clean)


def _redact_values(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_values(item) for item in value]
    return value


def _is_plain(value: Any) -> bool:
    return value is not None and isinstance(value, str | int | float) and value != ""


def _difference(entry: dict[str, Any], request: Request) -> str:
    theirs = Request.from_dict(entry["request"])
    if theirs.options.to_dict() != request.options.to_dict():
        return f"options {theirs.options.to_dict()} there, {request.options.to_dict()} here"
    if len(theirs.messages) != len(request.messages):
        return f"{len(theirs.messages)} messages there, {len(request.messages)} here"
    for number, (old, new) in enumerate(zip(theirs.messages, request.messages, strict=True), 1):
        if old.canonical != new.canonical:
            return f"message {number} is '{_short(old.text)}' there, '{_short(new.text)}' here"
    return "only in what is not compared"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:50]}...{text[-27:]}"
