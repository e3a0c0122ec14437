"""An agent behind the interface of a language model: `/v1/chat/completions`.

Programs that talk to models talk to agents so. A request begins a conversation, or goes on with
the one whose history it repeats; what the agent does on the way is told as `reasoning_content`.

Source: OpenAI API reference, chat completions (platform.openai.com/docs/api-reference/chat).
"""

from __future__ import annotations

import secrets as random
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request, Response
from starlette.responses import StreamingResponse

from models.agents.agent import SYSTEM
from models.agents.errors import ForbiddenError
from models.agents.events.sayable import dumps
from models.agents.server.auth import Grant
from models.agents.server.bodies import ID
from models.agents.server.chats import ChatRequest
from models.agents.server.conversations import begin
from models.agents.server.failures import reply
from models.agents.server.live import Live
from models.agents.server.state import Parts, Server, needs
from models.agents.spec import AgentSpec
from models.errors import ServiceError

router = APIRouter(prefix="/v1", tags=["gateway"])

HEADER = "X-Conversation-Id"

_LIMITS = ("budget:", "max_steps")
"""What the reason of a run has in it that a limit ended."""


@router.get("/models", dependencies=[needs("read")])
async def models(server: Parts) -> dict[str, Any]:
    """List the models that agents may have here, where the server was told so."""
    names = [name for name in server.config.models if not name.endswith("*")]
    made = int(time.time() - (time.monotonic() - server.began))
    entries = [{"id": name, "object": "model", "created": made, "owned_by": "-"} for name in names]
    return {"object": "list", "data": entries}


@router.post("/chat/completions", response_model=None)
async def chat_completions(
    request: Request,
    server: Parts,
    body: ChatRequest,
    conversation: Annotated[str | None, Header(alias=HEADER, pattern=ID)] = None,
) -> Response:
    """Tell an agent something and answer with what it ends with."""
    name, text = await _told(server, request.scope["grant"], body.check(), conversation)
    turn = _Turn(server, name, body)
    headers = {HEADER: name}
    if body.stream:
        # The run begins before the first piece, so that refusals are answers with a status.
        begun = await turn.begin(text)
        pieces = turn.pieces(begun)
        return StreamingResponse(pieces, media_type="text/event-stream", headers=headers)
    answer = await turn.answer(await turn.begin(text))
    response = reply(answer)
    response.headers.update(headers)
    return response


async def _told(
    server: Server, grant: Grant, body: ChatRequest, named: str | None
) -> tuple[str, str]:
    """Return the conversation that goes on, begun where there is none, and what it is told."""
    *earlier, last = body.messages
    name = named or server.histories.get(body.model, earlier)
    if named is not None or (name is not None and server.home.store.exists(name)):
        assert name is not None
        if not grant.allows("write", name):
            raise ForbiddenError(f"this needs the scope 'write' for conversation '{name}'")
        return name, last.said()
    if not grant.allows("admin"):
        raise ForbiddenError(
            f"this needs the scope 'admin', for it begins a conversation; to go on with one, name "
            f"it in the header {HEADER}"
        )
    rules = [turn.said() for turn in earlier if turn.role in ("system", "developer")]
    system = "\n\n".join([SYSTEM, *rules])
    spec = server.config.check(AgentSpec(model=body.model, system=system))
    name = random.token_hex(8)
    await begin(server, name, spec)
    said = [turn for turn in earlier if turn.role in ("user", "assistant")]
    if not said:
        return name, last.said()
    past = "\n\n".join(f"[{turn.role}]\n{turn.said()}" for turn in said)
    return name, f"This talk began elsewhere:\n\n{past}\n\n[user]\n{last.said()}"


class _Turn:
    """One request: something is said, and the end of the run is the answer."""

    def __init__(self, server: Server, name: str, body: ChatRequest) -> None:
        self._server, self._name, self._body = server, name, body

    async def begin(self, text: str) -> tuple[int, int, int]:
        """Say it and run; returns where the log and its counts of tokens stood before."""
        async with self._server.registry.use(self._name) as live:
            state = live.log.state
            before = (state.prompt_tokens, state.completion_tokens)
            event = await live.conversation.post(text)
            self._server.runs.start(live)
            return event.seq, *before

    async def answer(self, begun: tuple[int, int, int]) -> dict[str, Any]:
        await self._server.runs.ended(self._name)
        async with self._server.registry.use(self._name) as live:
            text, reason = _end(self._server, live)
            self._server.histories.keep(self._body.model, self._body.messages, text, self._name)
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
            return {
                **self._head(begun[0], "chat.completion"),
                "choices": [choice],
                "usage": _usage(live, begun),
            }

    async def pieces(self, begun: tuple[int, int, int]) -> AsyncIterator[bytes]:
        head = self._head(begun[0], "chat.completion.chunk")

        def piece(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return _event({**head, "choices": [choice], **more})

        yield piece({"role": "assistant", "content": ""})
        async with self._server.registry.use(self._name) as live:
            async for thought in self._on_the_way(live, begun[0]):
                yield piece({"reasoning_content": thought}) if thought else b": waiting\n\n"
            try:
                answer = await self.answer(begun)
            except ServiceError as error:
                told = {"type": type(error).__name__, "message": str(error)}
                yield _event({"error": told})
                return
        (choice,) = answer["choices"]
        yield piece({"content": choice["message"]["content"]})
        yield piece({}, choice["finish_reason"])
        if (self._body.stream_options or {}).get("include_usage"):
            yield _event({**head, "choices": [], "usage": answer["usage"]})
        yield b"data: [DONE]\n\n"

    async def _on_the_way(self, live: Live, after: int) -> AsyncIterator[str]:
        """Give what the model thinks and says before calls, and these; empty: a sign of life.

        Words are held back until a call follows them: the last ones are the answer.
        """
        words = ""
        status = partial(self._server.runs.status_frame, live)
        with live.hub.watched(after, deltas=True) as watcher:
            async for raw in watcher.frames(self._server.config.heartbeat_s, status):
                frame = orjson.loads(raw)
                match frame:
                    case {"type": "delta", "call_id": _}:
                        continue
                    case {"type": "delta"}:
                        words += frame.get("text", "")
                        yield frame.get("reasoning", "")
                    case {"kind": "intent", "body": {"name": str(tool)}}:
                        yield f"{words}\n[{tool}]\n"
                        words = ""
                    case {"type": "heartbeat"}:
                        yield ""
                    case {"type": "status", "running": False}:
                        return

    def _head(self, seq: int, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._name}-{seq}",
            "object": kind,
            "created": int(time.time()),
            "model": self._body.model,
        }


def _end(server: Server, live: Live) -> tuple[str, str]:
    """Return what a run ended with, and why in the words of the interface.

    Raises:
        ServiceError: It failed.
    """
    state = live.log.state
    failure = server.runs.standing(live.id).failure
    match state.phase:
        case "finished":
            return state.final, "stop"
        case "waiting":
            names = ", ".join(call.name for call in state.open_calls() if call.waits)
            told = f"[waits for an approval of {names}: see the conversation {live.id}]"
            return told, "stop"
        case "paused":
            return f"[paused: {state.reason or 'no reason'}]", "stop"
    reason = failure["message"] if failure else state.reason
    if any(limit in reason for limit in _LIMITS):
        return f"[{reason}]", "length"
    raise ServiceError(f"conversation {live.id} is {state.phase}: {reason or 'no reason'}")


def _usage(live: Live, begun: tuple[int, int, int]) -> dict[str, int]:
    state = live.log.state
    prompt, completion = state.prompt_tokens - begun[1], state.completion_tokens - begun[2]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _event(values: dict[str, Any]) -> bytes:
    return b"data: " + dumps(values)[0] + b"\n\n"
