"""Errors as answers: a status, the error's name and its text; never a traceback."""

from __future__ import annotations

import errno
import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from models.agents.errors import (
    ApprovalError,
    AtCapacityError,
    CorruptLogError,
    ForbiddenError,
    LeaseHeldError,
    LifecycleError,
    LogError,
    NoConversationError,
    PaneError,
    StaleOwnerError,
)
from models.agents.events.sayable import dumps
from models.agents.security.secrets import Secrets
from models.errors import ConfigError, DataError, ProjectError, StorageFullError
from models.llm import LanguageModelError
from models.sandbox import OutsideWorkspaceError, SandboxError, ShellBusyError
from models.sandbox.files import NotAFileError, TooLargeError

log = logging.getLogger("loom.agents.server")


_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (NoConversationError, 404),
    (ForbiddenError, 403),
    (OutsideWorkspaceError, 403),
    (AtCapacityError, 429),
    (CorruptLogError, 409),
    (LifecycleError, 409),
    (ApprovalError, 409),
    (LeaseHeldError, 409),
    (StaleOwnerError, 409),
    (ShellBusyError, 409),
    (NotAFileError, 409),
    (TooLargeError, 413),
    (StorageFullError, 507),
    (SandboxError, 503),
    (PaneError, 503),
    (LanguageModelError, 502),
    (LogError, 400),
    (ConfigError, 400),
    (DataError, 400),
    (FileNotFoundError, 404),
    (IsADirectoryError, 409),
    (NotADirectoryError, 409),
    (FileExistsError, 409),
    (PermissionError, 403),
)


_ERRNO = {
    errno.ELOOP: 400,
    errno.ENAMETOOLONG: 400,
    errno.EROFS: 403,
    errno.EFBIG: 413,
    errno.ENOSPC: 507,
    errno.EDQUOT: 507,
}
"""What the system says to a path or a write, where Python has no class for it."""


def reply(values: Any, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(dumps(values)[0], status, media_type="application/json")


def masked(values: Any, secrets: Secrets, status: int = 200) -> Response:
    """Answer with JSON that holds no secret of a conversation, whatever it was made of."""
    raw = secrets.gate(dumps(values)[0])
    return Response(raw, status, media_type="application/json")


def refusal(status: int, kind: str, message: str, **more: Any) -> Response:
    """Answer with an error."""
    response = reply({"error": {"type": kind, "message": message, **more}}, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 429:
        response.headers["Retry-After"] = "1"
    return response


def status_of(error: BaseException) -> int:
    """Return the status that says what went wrong; 500: nobody foresaw it."""
    found = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if found == 500 and isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0, 500)
    return found


async def _foreseen(request: Request, error: Exception) -> Response:
    status = status_of(error)
    if status == 500 and not isinstance(error, ProjectError):
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return refusal(500, "InternalError", "this was not foreseen; the server's log has it")
    more = {"seq": error.seq} if isinstance(error, AtCapacityError) else {}
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, ProjectError):
        # The path that was asked for, if any: the error's own is one of the host.
        text = error.strerror or type(error).__name__
        if path := request.path_params.get("path"):
            text = f"{path[:200]}: {text}"
    # Errors repeat what was asked for.
    text = request.app.state.server.registry.mask(request.path_params.get("id"), text)
    return refusal(status, type(error).__name__, text, **more)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    stated = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if first["loc"] == ("body",) and not stated.endswith(("/json", "+json")):
        # Not read as JSON without it: a page of others may not send this header unasked.
        told = f"got '{stated}'" if stated else "got none"
        message = f"send the body as JSON with the header `Content-Type: application/json`; {told}"
        return refusal(422, "ValidationError", message)
    # Without the value: it may be a secret.
    return refusal(422, "ValidationError", f"{place}: {first['msg']}")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = refusal(error.status_code, "HTTPException", str(error.detail))
    response.headers.update(error.headers or {})
    return response


def explain_failures(app: FastAPI) -> None:
    """Let an app answer errors in our words."""
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    for kind in (ProjectError, OSError, Exception):
        app.add_exception_handler(kind, _foreseen)
