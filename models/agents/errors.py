"""What can go wrong in the agent runtime, as types."""

from __future__ import annotations

from models.errors import ConfigError, DataError, ProjectError, ServiceError


class AgentError(ProjectError):
    """Base of what the agent runtime raises on purpose."""


class ToolDefinitionError(AgentError, ConfigError):
    """A function cannot become a tool, or two tools have one name."""


class ToolArgumentsError(AgentError, ValueError):
    """A model called a tool with arguments that do not fit; the model gets this text."""


class ToolError(AgentError, RuntimeError):
    """A tool says that it could not do what was asked; the model gets this text as an error."""


class LogError(AgentError, DataError):
    """The event log cannot be used as asked."""


class DuplicateEventError(LogError):
    """An event with this id, or a second result of a call, is in the log already."""


class TakenError(LogError):
    """A conversation of this id is there already."""


class UnknownParentError(LogError):
    """An event names a parent that is not in the log."""


class CorruptLogError(LogError):
    """Records of a log are torn or changed; `intact_seq` is the last one that can be trusted."""

    def __init__(self, message: str, intact_seq: int = 0) -> None:
        super().__init__(message)
        self.intact_seq = intact_seq

    def __reduce__(self) -> tuple[type[CorruptLogError], tuple[str, int]]:
        """Pickle with the number: errors cross process boundaries."""
        return type(self), (str(self), self.intact_seq)


class SealError(LogError):
    """A key of a conversation is missing, wrong or none."""


class NoConversationError(LogError):
    """No conversation has this id."""


class LeaseHeldError(AgentError, ServiceError):
    """Another process runs this conversation."""


class StaleOwnerError(AgentError, ServiceError):
    """The right to run this conversation was taken over by another process."""


class ApprovalError(AgentError, ValueError):
    """An approval names no waiting call, or other arguments than those that wait."""


class LifecycleError(AgentError, RuntimeError):
    """A conversation cannot do this in its present state."""


class ForbiddenError(AgentError, PermissionError):
    """The key or token does not allow this."""


class UnauthorisedError(AgentError, ServiceError):
    """The server does not know this key."""


class PaneError(AgentError, ServiceError):
    """A program beside a conversation cannot be opened, or has ended."""


class AtCapacityError(AgentError, ServiceError):
    """As many runs as the server takes are under way; `seq` is of the message, which is kept."""

    def __init__(self, message: str, seq: int = 0) -> None:
        super().__init__(message)
        self.seq = seq

    def __reduce__(self) -> tuple[type[AtCapacityError], tuple[str, int]]:
        """Pickle with the number: errors cross process boundaries."""
        return type(self), (str(self), self.seq)
