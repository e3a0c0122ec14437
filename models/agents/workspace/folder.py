"""Workspaces of this machine: a folder, trusted or behind a sandbox."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.sandbox import Limits, Sandbox
    from models.sandbox.outputs import MakeMask


class LocalWorkspace:
    """A folder of this machine without any isolation: for work that is trusted.

    Args:
        root: The folder; made when it is not there.
        limits: What one command may use; None: the sandbox room's defaults.
    """

    kind = "local"

    def __init__(self, root: str | Path = ".", limits: Limits | None = None) -> None:
        self._root = Path(root).expanduser().absolute()
        self._root.mkdir(parents=True, exist_ok=True)
        self._limits = limits
        self._sandbox: Sandbox | None = None
        self._masks: dict[MakeMask, None] = {}
        # Tools, terminals and commands of people begin in threads of their own.
        self._lock = threading.Lock()

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    @property
    def sandbox(self) -> Sandbox:
        """What runs commands and touches files there, made on first use."""
        with self._lock:
            if self._sandbox is None:
                self._sandbox = self._make()
                for make_mask in self._masks:
                    self._sandbox.hide(make_mask)
            return self._sandbox

    def hide(self, make_mask: MakeMask) -> None:
        """Pass what is saved of outputs through a mask (`Secrets.stream`)."""
        with self._lock:
            self._masks[make_mask] = None
            if self._sandbox is not None:
                self._sandbox.hide(make_mask)

    def _make(self) -> Sandbox:
        from models.sandbox import LocalSandbox
        from models.sandbox.base import DEFAULT_LIMITS

        return LocalSandbox(self._root, self._limits or DEFAULT_LIMITS)

    def describe(self) -> dict[str, Any]:
        """Return plain JSON values that say which workspace this is."""
        return {"kind": self.kind, "root": str(self._root)}

    def close(self) -> None:
        """Stop what runs in it; files stay."""
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            sandbox.close()


class SandboxWorkspace(LocalWorkspace):
    """A folder whose commands run in namespaces of their own, without network.

    Raises:
        SandboxUnavailableError: On first use, where the host has no namespaces for users.
    """

    kind = "sandbox"

    def _make(self) -> Sandbox:
        from models.sandbox import BubblewrapSandbox
        from models.sandbox.base import DEFAULT_LIMITS

        return BubblewrapSandbox(self._root, self._limits or DEFAULT_LIMITS)


class OverlayWorkspace(SandboxWorkspace):
    """A folder that stays as it is: what agents change lies apart until it is accepted.

    Its `sandbox` (an `OverlaySandbox`) lists, keeps, brings back, accepts and discards changes.

    Args:
        root: The folder.
        state: Keeps the changes, outside of the folder; what lies there is gone on with.
        limits: What one command may use; None: the sandbox room's defaults.

    Raises:
        SandboxUnavailableError: On first use, where the host makes no overlays.
    """

    kind = "overlay"

    def __init__(self, root: str | Path, state: str | Path, limits: Limits | None = None) -> None:
        super().__init__(root, limits)
        self._state = Path(state).expanduser().absolute()

    def _make(self) -> Sandbox:
        from models.sandbox import OverlaySandbox
        from models.sandbox.base import DEFAULT_LIMITS

        return OverlaySandbox(self._root, self._state, self._limits or DEFAULT_LIMITS)
