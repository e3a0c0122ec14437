"""Who is asked for a module: the seam that a language model or an agent stands behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from models.kernels.prompts.repetition import repetition_start
from models.llm import LanguageModel, Message, Options, Request
from models.llm.blocking import Blocking
from models.llm.reply import Reply
from models.llm.tokens import estimate_tokens

_CHECKED_EVERY = 8_000
"""Characters of a running answer between looks for a repetition."""


class Answer(NamedTuple):
    """What came back."""

    text: str
    was_cut: bool = False
    """It ended at a limit, not by itself."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    """None: no price is known."""


class Asker(Protocol):
    """Answers a dialog. `ModelAsker` does by a language model.

    An agent can too, through an adapter outside this room, which knows no agents: the dialog
    that it is given grows by one user message at a time, which is what a conversation's `send`
    takes; a dialog that does not continue the last one opens a new conversation, whose system
    text is the first message. What the agent says last is the answer; its tools are its own
    affair, and nothing that it tried counts for anything but its next answer.
    """

    @property
    def name(self) -> str:
        """Recorded with candidates."""
        ...

    def ask(self, messages: Sequence[Message]) -> Answer:
        """Answer a dialog that ends with a user's message.

        Raises:
            LanguageModelError: No answer; `ContextLengthError` when the dialog is too long.
        """
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count or estimate the tokens of a dialog."""
        ...


class ModelAsker:
    """Asks a language model, and stops an answer that never ends.

    Args:
        model: Any client of `models.llm`; budgets and meters wrap it.
        options: How to answer; `max_tokens` bounds an answer.
        purpose: For routers and meters.
    """

    def __init__(
        self, model: LanguageModel, options: Options | None = None, purpose: str = "propose"
    ) -> None:
        self._model = model
        self._options = options or Options(max_tokens=16_384)
        self._purpose = purpose

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._model.name

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Count as the model does."""
        return self._model.count_tokens(Request(tuple(messages), self._options))

    def ask(self, messages: Sequence[Message]) -> Answer:
        """Answer a dialog; leaves an answer that repeats itself or passes its limit.

        Raises:
            LanguageModelError: No answer.
        """
        request = Request(tuple(messages), self._options, purpose=self._purpose)
        # A server that ignores `max_tokens` would hold a session for ever: 8 characters a token
        # is more than usual text has.
        most = 8 * (self._options.max_tokens or 32_768)
        pieces: list[str] = []
        length = checked = 0
        for chunk in Blocking(self._model).stream(request):
            if chunk.reply is not None:
                return _whole(chunk.reply, most)
            pieces.append(chunk.text)
            length += len(chunk.text)
            if length > most:
                break
            if length - checked >= _CHECKED_EVERY:
                checked = length
                if repetition_start("".join(pieces)) is not None:
                    break
        text = "".join(pieces)[:most]
        return Answer(text, True, self.count_tokens(messages), estimate_tokens(text))


def _whole(reply: Reply, most: int) -> Answer:
    return Answer(
        reply.text[:most],
        reply.finish_reason == "length" or len(reply.text) > most,
        reply.usage.prompt_tokens,
        reply.usage.completion_tokens,
        reply.cost_usd,
    )
