"""What each system did, and what for the others."""

from __future__ import annotations

from dataclasses import dataclass

from models.figures import FlowSummary


@dataclass(frozen=True)
class Service:
    """What one system did for another, counted.

    Attributes:
        by, to: The systems.
        what: What is counted, in words.
        count: How often it was done in this run.
    """

    by: str
    to: str
    what: str
    count: float


@dataclass(frozen=True)
class Stage:
    """One system at work.

    Attributes:
        room: The system.
        flow: Its flow.
        took_s: Wall time in seconds.
        summary: What it did; None: it failed.
        failure: Why it failed.
        services: What others did for it, or it for others.
    """

    room: str
    flow: str
    took_s: float
    summary: FlowSummary | None
    failure: str = ""
    services: tuple[Service, ...] = ()

    def figure(self, name: str) -> float:
        """Return a figure of the summary by its name; 0 where there is none."""
        figures = self.summary.figures if self.summary else ()
        return next((one.value or 0.0 for one in figures if one.name == name), 0.0)


def services_of(stages: list[Stage]) -> list[Service]:
    """Return what the systems did for each other, in the order in which they worked."""
    return [service for stage in stages for service in stage.services]
