"""What a shell command would do, found by following it without running it."""

from models.agents.security.shell.rails import ShellRails, rate_command

__all__ = ["ShellRails", "rate_command"]
