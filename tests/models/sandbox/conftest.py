"""Sandboxes of every level over a fresh workspace; a level that the host refuses is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.sandbox import (
    BubblewrapSandbox,
    LocalSandbox,
    RestrictedSandbox,
    Sandbox,
    SandboxUnavailableError,
    Shell,
)

KINDS: dict[str, Callable[..., Any]] = {
    "local": LocalSandbox,
    "restricted": RestrictedSandbox,
    "sandboxed": BubblewrapSandbox,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty folder that commands may change."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def make(workspace: Path) -> Iterator[Callable[..., Any]]:
    """Make a sandbox of a level by its name; all are closed at the end."""
    made: list[Any] = []

    def of(kind: str, **options: Any) -> Any:
        try:
            made.append(KINDS[kind](options.pop("workspace", workspace), **options))
        except SandboxUnavailableError as error:
            pytest.skip(f"this host: {error}")
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture(params=["local", "sandboxed"])
def sandbox(request: pytest.FixtureRequest, make: Callable[..., Any]) -> Sandbox:
    """A sandbox of the weakest and of the strongest level."""
    made: Sandbox = make(request.param)
    return made


@pytest.fixture
def sandboxed(make: Callable[..., Any]) -> Sandbox:
    """A sandbox of the strongest level."""
    made: Sandbox = make("sandboxed")
    return made


@pytest.fixture
def shell(sandbox: Sandbox) -> Shell:
    """A persistent shell on either level."""
    return sandbox.shell()
