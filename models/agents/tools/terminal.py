"""The terminal: a shell of the conversation that lives on between calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from models.agents.errors import ToolError
from models.agents.tools.base import Observation, tool
from models.agents.tools.context import ToolContext
from models.errors import ProjectError

if TYPE_CHECKING:
    from models.sandbox import Shell, ShellResult

KEYS = {"C-c": "\x03", "C-d": "\x04", "C-z": "\x1a", "C-\\": "\x1c", "ENTER": "\n"}
"""Keys that can be pressed, as tmux names them."""

LONGEST_WAIT_S = 600.0

LONGEST_LIFE_S = 86_400.0
"""What is to run longer than a day is started with `&`."""


def shell_of(ctx: ToolContext) -> Shell:
    """Return the shell of the conversation, started on first use."""
    shell: Shell = ctx.session.get("terminal", lambda: ctx.workspace.sandbox.shell())
    return shell


@tool(destructive=True)
def terminal(
    ctx: ToolContext,
    command: str = "",
    is_input: bool = False,
    timeout_s: Annotated[float, Field(allow_inf_nan=False)] = 10.0,
    kill_after_s: Annotated[float, Field(gt=0, le=LONGEST_LIFE_S)] | None = None,
    reset: bool = False,
) -> Observation:
    """Run a bash command in a persistent shell: folder, variables and functions stay.

    A command that still runs after `timeout_s` goes on; what it has written so far is shown. Call
    again with an empty command to wait on, with `is_input` to type to it, or with `is_input` and
    `C-c` to interrupt it. Start servers with `&` and look at them with later commands. Long output
    is cut in the middle; the note there names the file with all of it.

    Args:
        command: Bash, any number of lines; empty: wait for the command that runs.
        is_input: Type `command` to the program that runs instead of running it: a line, or
            one of the keys C-c, C-d, C-z, ENTER.
        timeout_s: Seconds after which the call comes back, at most 600.
        kill_after_s: Seconds after which the command is killed with all it started, at most
            86400 (a day).
        reset: End the shell and all it started first; use it when the shell is stuck.
    """
    shell = shell_of(ctx)
    ctx.cancelled.add(shell.reset)
    wait_s = max(0.0, min(timeout_s, LONGEST_WAIT_S))
    try:
        if reset:
            shell.reset()
            if not command:
                return Observation("the shell is fresh", data={"status": "reset"})
        if is_input:
            text = KEYS.get(command.strip()) or command.removesuffix("\n") + "\n"
            return _observed(shell.send(text, wait_s))
        if not command.strip():
            return _observed(shell.poll(wait_s))
        secrets = ctx.secrets.environment(command)
        done = shell.run(command, soft_s=wait_s, hard_s=kill_after_s, env=secrets)
    except ProjectError as error:
        raise ToolError(str(error)) from error
    return _observed(done)


def _observed(result: ShellResult) -> Observation:
    seconds = f"{result.duration_s:.1f} s"
    notes = {
        "finished": f"exit code {result.exit_code} after {seconds}, folder {result.cwd}",
        "running": f"still running after {seconds}; call with an empty command to wait, with "
        "is_input to type, C-c to interrupt",
        "killed": f"killed after {seconds} with all it started, exit code {result.exit_code}",
        "exited": f"the shell ended with exit code {result.exit_code}; the next command gets a "
        "fresh one",
    }
    output = result.output
    gap = "" if not output or output.endswith("\n") else "\n"
    return Observation(
        f"{output}{gap}[{notes[result.status]}]",
        data={
            "status": result.status,
            "exit_code": result.exit_code,
            "cwd": result.cwd,
            "duration_s": round(result.duration_s, 3),
            "output_bytes": result.output_bytes,
            "full_output": str(result.full_output) if result.full_output else None,
        },
    )
