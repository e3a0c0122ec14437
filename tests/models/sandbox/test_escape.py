"""Every attempt to leave is refused in the sandboxed level, and real: it succeeds without walls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.sandbox import (
    BubblewrapSandbox,
    LocalSandbox,
    SandboxError,
    SandboxUnavailableError,
    bubblewrap,
)
from models.sandbox.escape_probes import (
    LIMITS,
    PROBES,
    Finding,
    Probe,
    python_for_sandbox,
    run_probes,
    table,
)

OFTEN_NOT_THERE = {
    "kernel_crypto_socket", "root_of_process_1", "open_disk", "open_kernel_memory", "magic_key",
    "type_into_terminal", "join_namespace", "kernel_programs", "page_faults", "io_rings",
    "performance_counters", "kernel_keys", "kernel_log", "hypervisor_socket", "kernel_settings",
    "host_name", "watch_all_files", "internet", "internet6", "metadata_service",
    "metadata_service6", "container_credentials", "private_network", "name_server", "multicast",
    "run_in_real_time", "kernel_objects", "control_groups",
}  # fmt: skip


def _findings(
    kind: Callable[..., Any], folder: Path, probes: Sequence[Probe], **options: Any
) -> list[Finding]:
    return run_probes(
        lambda: kind(folder, limits=LIMITS, **options), lambda sandbox: sandbox.outputs, probes
    )


def test_every_attempt_is_refused_in_the_sandboxed_level(workspace: Path) -> None:
    try:
        BubblewrapSandbox(workspace).close()
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")
    findings = _findings(BubblewrapSandbox, workspace, PROBES, readable=python_for_sandbox()[1])
    open_ways = [finding for finding in findings if not finding.refused]
    assert open_ways == [], table(findings)
    assert len(findings) == len(PROBES) >= 60


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a user of its own to lose")
def test_they_are_refused_too_where_root_gets_no_user_of_its_own(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> int:
        raise SandboxUnavailableError("no changed owners here")

    monkeypatch.setattr(bubblewrap, "mapping_for", refuse)
    try:
        with BubblewrapSandbox(workspace) as sandbox:
            assert sandbox.notes[0] == "runs as root without rights: no changed owners here"
            assert sandbox.user is None
            assert sandbox.shell().run("echo x > made; cat made").output == "x\n"
    except SandboxUnavailableError as error:
        pytest.skip(f"this host: {error}")
    together = [probe for probe in PROBES if not probe.is_alone]
    findings = _findings(BubblewrapSandbox, workspace, together, readable=python_for_sandbox()[1])
    assert [finding for finding in findings if not finding.refused] == [], table(findings)


def test_harmless_attempts_succeed_at_the_trusted_level_so_they_are_real(workspace: Path) -> None:
    is_root = os.geteuid() == 0
    harmless = [p for p in PROBES if p.is_harmless and (is_root or not p.needs_root)]
    findings = _findings(LocalSandbox, workspace, harmless)
    stopped = {finding.probe.name for finding in findings if finding.refused}
    # A host may lack what they go for, in a container for example; each has its reason there.
    assert stopped <= OFTEN_NOT_THERE, table(findings)
    assert len(findings) - len(stopped) >= (45 if is_root else 15)


def test_attempts_that_do_damage_are_never_made_where_nothing_stops_them(workspace: Path) -> None:
    with pytest.raises(SandboxError, match="would change this host at the level"):
        _findings(LocalSandbox, workspace, PROBES)
    assert not (workspace / "probes.py").exists()
