"""The agent's model under its budget, counting a prompt without reading it again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from models.llm import LanguageModel, Message, Model, Options, Reply, Request
from models.llm.reply import Stream
from models.llm.request import Prompt, as_request, estimate_prompt


class CountedModel(Model):
    """Passes calls on; knows the tokens of the view, which grows message by message.

    Counting 10,000 messages at each step would make a step cost what its history is long.

    Args:
        inner: The model.
        sent: Returns the messages last sent and their tokens.
    """

    def __init__(
        self, inner: LanguageModel, sent: Callable[[], tuple[tuple[Message, ...], int]]
    ) -> None:
        super().__init__(inner.name, inner.capabilities, inner.price)
        self._inner = inner
        self._sent = sent
        self._options: Options | None = None
        self._options_tokens = 0

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Return the estimate for the view, and what the inner model says of anything else."""
        request = as_request(prompt, options)
        messages, tokens = self._sent()
        if request.messages is not messages:
            return self._inner.count_tokens(request)
        if request.options is not self._options:
            self._options = request.options
            one = Request(messages[:1], request.options)
            self._options_tokens = estimate_prompt(one) - messages[0].tokens
        return tokens + self._options_tokens

    async def aclose(self) -> None:
        """Close the inner model."""
        await self._inner.aclose()

    async def _generate(self, request: Request) -> Reply:
        return await self._inner.generate(request)

    async def _stream(self, request: Request) -> Stream:
        async with aclosing(self._inner.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk
