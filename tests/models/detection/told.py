"""Sessions in a few words for tests."""

from typing import Any

from models.detection.session import Event, Session, ToolCall, ToolManifest


def call(tool: str, result: str = "ok", /, *, status: str = "ok", server: str = "",
         time_s: float | None = None, **arguments: Any) -> dict[str, Any]:  # fmt: skip
    return {"tool": tool, "server": server, "arguments": arguments, "result": result,
            "status": status, "time_s": time_s}  # fmt: skip


def told(
    request: str, *calls: dict[str, Any], manifests: tuple[ToolManifest, ...] = (),
    system: str = "", environment: dict[str, str] | None = None,
) -> Session:  # fmt: skip
    """What a user asked for, and the calls that followed."""
    events = [Event("system", "system_message", system)] if system else []
    events.append(Event("user", "user_message", request))
    for number, one in enumerate(calls, 1):
        made = ToolCall(f"k{number}", one["tool"], one["server"], one["arguments"])
        events.append(Event(f"c{number}", "tool_call", call=made, time_s=one["time_s"]))
        events.append(
            Event(f"r{number}", "tool_result", one["result"], status=one["status"],
                  responds_to=f"c{number}")
        )  # fmt: skip
    return Session.of("told", events, manifests=manifests, environment=environment)
