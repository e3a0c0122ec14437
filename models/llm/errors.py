"""What can go wrong between us and a language model, as types.

`retryable` says that the same request may succeed later or elsewhere: clients wait and try
again on it, routers go on to their next model.
"""

from __future__ import annotations

from typing import Any, ClassVar

from models.errors import ServiceError


class LanguageModelError(ServiceError):
    """Base of every failure of a call; in a batch it stands in the failed row's place."""

    retryable: ClassVar[bool] = False
    text: str
    status: int | None
    retry_after_s: float | None

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.text = text
        """What the model had said until then, where that is known."""
        self.status = status
        """HTTP status of the answer, where there was one."""
        self.retry_after_s = retry_after_s
        """Seconds that the server asked us to wait."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the attributes: errors cross process boundaries."""
        return _rebuild, (type(self), str(self), self.__dict__)


def _rebuild(
    kind: type[LanguageModelError], message: str, values: dict[str, Any]
) -> LanguageModelError:
    error = kind.__new__(kind, message)
    LanguageModelError.__init__(error, message)
    error.__dict__.update(values)
    return error


class BadRequestError(LanguageModelError, ValueError):
    """The request itself cannot be served: a wrong value, an unsupported option."""


class ModelNotFoundError(BadRequestError):
    """The server does not know the model, or the spec names none."""


class ContextLengthError(BadRequestError):
    """Prompt and reply do not fit the model's context."""


class UnsupportedError(BadRequestError):
    """The model cannot do what the request needs (tools, images, a schema)."""


class AuthenticationError(LanguageModelError):
    """The key is missing, wrong or not allowed to do this."""


class ContentFilterError(LanguageModelError):
    """The provider refuses the content."""


class RateLimitError(LanguageModelError):
    """Too many requests for now."""

    retryable = True


class QuotaError(RateLimitError):
    """The account's money or quota is used up: waiting a little does not help."""

    retryable = False


class ServerError(LanguageModelError):
    """The server failed (5xx)."""

    retryable = True


class UnreachableError(LanguageModelError):
    """No connection to the server, or it broke before an answer came."""

    retryable = True


class ReplyTimeoutError(LanguageModelError):
    """No full answer in the time given."""

    retryable = True


class StreamCutError(LanguageModelError):
    """A stream ended before its end mark; `text` holds what had come."""

    retryable = True


class MalformedReplyError(LanguageModelError):
    """An answer came, but it is not of the shape that was agreed; `text` holds it."""

    retryable = True


class SchemaError(LanguageModelError):
    """No reply fitted the JSON schema, also after the repairs that were allowed."""

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, text=text, status=status, retry_after_s=retry_after_s)
        self.problems = problems
        """What the validator said of each try."""


class LiveCallError(LanguageModelError):
    """A call to another host was refused since live calls are switched off."""


class ScriptError(LanguageModelError):
    """A scripted model has no reply for this request, or its file cannot be read."""


class CassetteError(LanguageModelError):
    """A cassette has no such request, has it at another place, or cannot be read."""


class CircuitOpenError(LanguageModelError):
    """A model failed so often lately that it is not asked for a while."""

    retryable = True


class NoModelError(LanguageModelError):
    """All models of a route failed; `errors` holds the reason of each."""

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
        errors: tuple[LanguageModelError, ...] = (),
    ) -> None:
        super().__init__(message, text=text, status=status, retry_after_s=retry_after_s)
        self.errors = errors


class BudgetExceededError(LanguageModelError):
    """A hard budget does not cover the call, or a running one has passed it."""

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        status: int | None = None,
        retry_after_s: float | None = None,
        limit: str = "",
        is_running: bool = False,
    ) -> None:
        super().__init__(message, text=text, status=status, retry_after_s=retry_after_s)
        self.limit = limit
        """Which limit: tokens, usd, calls or seconds."""
        self.is_running = is_running
        """The call was under way already."""


class UnexpectedError(LanguageModelError):
    """A row of a batch failed by an error that nobody foresaw; it is the `__cause__`."""
