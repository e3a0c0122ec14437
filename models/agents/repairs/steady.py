"""A conversation that reads the same on every machine, so that a recording of it plays there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.llm import LanguageModel, Model, Reply, Request

FOLDER = "/repository"
"""What a model is shown in place of the workspace's path."""

_SECONDS = re.compile(r"(?<=\d after )\d+\.\d s(?=, folder )")
"""What the terminal says a command took."""


class SteadyModel(Model):
    """Shows a model `/repository` for the folder and no times, and turns its paths back.

    Args:
        inner: The model; closed with this one.
        root: The workspace's folder.
    """

    def __init__(self, inner: LanguageModel, root: Path) -> None:
        super().__init__(inner.name, inner.capabilities, inner.price)
        self._inner = inner
        self._root = str(root)

    async def aclose(self) -> None:
        """Close the inner model."""
        await self._inner.aclose()

    async def _generate(self, request: Request) -> Reply:
        steady = Request.from_dict(self._steady(request.to_dict()))
        reply = await self._inner.generate(steady)
        calls = tuple(
            replace(call, arguments=call.arguments.replace(FOLDER, self._root))
            for call in reply.message.tool_calls
        )
        return replace(reply, message=replace(reply.message, tool_calls=calls))

    def _steady(self, value: Any) -> Any:
        if isinstance(value, str):
            return _SECONDS.sub("0.0 s", value.replace(self._root, FOLDER))
        if isinstance(value, dict):
            return {key: self._steady(item) for key, item in value.items()}
        return [self._steady(item) for item in value] if isinstance(value, list) else value
