"""What a fleet is made of, and what can be wrong with its tables."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from models.errors import DataError, NotEnoughDataError

ALL = "*"
NO_RELEASE = ("", "unknown")


class FleetTableError(DataError):
    """A table of the fleet lacks a column or holds a value of another kind."""


class DuplicateIdError(FleetTableError):
    """An id that must be unique occurs twice."""


class UnknownReferenceError(FleetTableError):
    """A row names a host, service, domain or type that no table lists."""


class FleetTimeError(FleetTableError):
    """A time that is missing, not in whole seconds, or out of order."""


class WindowError(FleetTableError):
    """A window of no length, or one that overlaps the next day's."""


class CapError(FleetTableError):
    """A cap under which nothing could ever be upgraded."""


class EmptyBacklogError(NotEnoughDataError):
    """A fleet without a task to plan."""


@dataclass(frozen=True)
class Freeze:
    """A time in which nothing may run.

    Attributes:
        domain: Domain that is frozen; "*" for all.
        service: Service that is frozen; "*" for all.
        from_s: First second of the freeze, local clock.
        until_s: First second after it.
        owner: Who asked for it.
        reason: Why.
    """

    domain: str
    service: str
    from_s: int
    until_s: int
    owner: str
    reason: str

    def covers(self, domain: str, service: str) -> bool:
        """Whether hosts of this domain and service are frozen."""
        return self.domain in (ALL, domain) and self.service in (ALL, service)


@dataclass(frozen=True)
class Fleet:
    """Checked tables of a fleet; times in seconds of the local clock.

    Attributes:
        hosts: host_id, domain, rack, service, hardware, firmware.
        services: service, max_down_share, max_down_hosts (NaN: none), is_stateful,
            max_domains_per_window (NaN: no limit), one_domain_at_a_time.
        domains: domain, lanes, window_start_s (after midnight), window_s.
        freezes: Times in which nothing may run.
        types: type, after (types joined by ";"), needs_reboot, rollback_s.
        backlog: task, host_id, type, release, value, arrival_s, deadline_s.
        events: Past events in the import schema; may be empty.
    """

    hosts: pd.DataFrame
    services: pd.DataFrame
    domains: pd.DataFrame
    freezes: tuple[Freeze, ...]
    types: pd.DataFrame
    backlog: pd.DataFrame
    events: pd.DataFrame

    @cached_property
    def after(self) -> Mapping[str, tuple[str, ...]]:
        """For each type those that must come before it on a host."""
        return {
            type_: tuple(part.strip() for part in after.split(";") if part.strip())
            for type_, after in zip(self.types["type"], self.types["after"], strict=True)
        }

    @cached_property
    def caps(self) -> Mapping[str, int]:
        """Hosts of each service that may be down at one time, over all domains.

        The smaller of the absolute cap and the share rounded down, but at least one: a
        share of a small service that rounds to nobody would freeze it for ever.
        """
        counts = self.hosts["service"].value_counts()
        caps: dict[str, int] = {}
        columns = ["service", "max_down_share", "max_down_hosts"]
        for service, share, most in self.services[columns].itertuples(index=False, name=None):
            # Rounded first: 0.29 * 100 is 28.999999999999996.
            cap = max(1, math.floor(round(float(share) * int(counts.get(service, 0)), 9)))
            caps[service] = cap if np.isnan(most) else min(cap, int(most))
        return caps

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """The backlog with its hosts: task, row (of the backlog), host, domain, service, type,
        hardware, release, value, arrival_s, deadline_s.
        """
        hosts = self.hosts.set_index("host_id")
        found = hosts.loc[self.backlog["host_id"], ["domain", "service", "hardware"]]
        tasks = self.backlog.rename(columns={"host_id": "host"}).assign(
            row=np.arange(len(self.backlog)),
            **{column: found[column].to_numpy(object) for column in found.columns},
        )
        head = ["task", "row", "host", "domain", "service", "type", "hardware"]
        return tasks[[*head, "release", "value", "arrival_s", "deadline_s"]]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every table that a plan depends on."""
        digest = hashlib.sha256()
        tables = (self.hosts, self.services, self.domains, self.types, self.backlog, self.events)
        for table in tables:
            digest.update(repr(list(table.columns)).encode())
            digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        digest.update(repr(self.freezes).encode())
        return digest.hexdigest()
