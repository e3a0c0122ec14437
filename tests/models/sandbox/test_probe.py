"""What a host can do is told truly, and the strongest level that works is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.sandbox import (
    BubblewrapSandbox,
    LocalSandbox,
    RestrictedSandbox,
    SandboxUnavailableError,
    bench,
    bubblewrap,
    landlock,
    probe,
)
from models.sandbox.limits import hierarchies


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose kernel refuses namespaces."""
    monkeypatch.setattr(bubblewrap, "_starts", lambda *_, **__: "No permissions to create")


def test_the_strongest_level_is_chosen_and_weaker_ones_only_when_allowed(
    workspace: Path, no_bubblewrap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SandboxUnavailableError, match="No permissions to create"):
        probe.strongest(workspace)
    if landlock.abi():
        weaker = probe.strongest(workspace, at_least="restricted")
        assert isinstance(weaker, RestrictedSandbox)
        assert weaker.level == "restricted"
        weaker.close()
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(SandboxUnavailableError, match=r"namespaces.*; restricted: Landlock"):
        probe.strongest(workspace, at_least="restricted")
    trusted = probe.strongest(workspace, at_least="trusted")
    assert isinstance(trusted, LocalSandbox)
    trusted.close()


def test_a_host_with_namespaces_gives_the_sandboxed_level(workspace: Path) -> None:
    try:
        sandbox = probe.strongest(workspace)
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")
    assert isinstance(sandbox, BubblewrapSandbox)
    sandbox.close()


def test_every_part_is_examined_and_what_does_not_work_has_a_reason() -> None:
    found = {one.what: one for one in probe.examine()}
    assert {"strongest level", "bubblewrap", "overlay", "seccomp", "Landlock", "cgroups"} <= {
        *found
    }
    assert all(one.found for one in found.values())
    assert found["Landlock"].works == (landlock.abi() > 0)
    assert found["cgroups"].works == (hierarchies()[1] == "")


def test_without_namespaces_the_weaker_level_is_named(no_bubblewrap: None) -> None:
    found = {one.what: one for one in probe.examine()}
    assert not found["strongest level"].works
    assert found["strongest level"].found.startswith("restricted" if landlock.abi() else "trusted")
    assert "No permissions to create" in found["bubblewrap"].advice


def test_figures_are_taken_for_every_level_of_this_host() -> None:
    report = bench.measure(commands=3, starts=2)
    measured = {figure.level for figure in report.figures}
    assert measured | {*report.missing} == {"local", "restricted", "sandboxed"}
    assert all(0 < figure.wall_min_ms <= figure.wall_p50_ms for figure in report.figures)
    assert "terminal `true`" in bench.table(report.figures)
