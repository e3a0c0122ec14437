"""The fleet as it stands: hosts, services, domains, types, freezes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.generator.config import DAY_S, FleetConfig

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Hosts as codes, shape (n_hosts,) each; a code is a row of the table of its kind."""

    rack: Ints
    domain: Ints
    service: Ints
    hardware: Ints
    firmware: Ints
    is_stateful: NDArray[np.bool_]
    """Whether a service holds state, shape (n_services,)."""
    window_start_s: Ints
    """Opening of each domain's window after local midnight, shape (n_domains,)."""


def start_s(config: FleetConfig) -> int:
    """Return local midnight of the first day, in seconds since 1970 of the local clock."""
    return int(np.datetime64(config.start, "s").astype(np.int64))


def end_s(config: FleetConfig) -> int:
    """Return local midnight after the last day of the history."""
    return start_s(config) + config.days * DAY_S


def host_names(config: FleetConfig) -> NDArray[np.object_]:
    """Return host names, shape (n_hosts,)."""
    return labels("h", config.hosts, 6)


def labels(prefix: str, n: int, width: int = 2) -> NDArray[np.object_]:
    """Return `n` names with numbers of at least `width` digits."""
    return np.array([f"{prefix}{place:0{width}d}" for place in range(n)], dtype=object)


def draw_layout(config: FleetConfig, rng: np.random.Generator) -> Layout:
    """Place hosts in racks and domains, and give them services and hardware."""
    host = np.arange(config.hosts, dtype=np.int64)
    rack = host // config.hosts_per_rack
    n_racks = int(rack[-1]) + 1
    of_rack = rng.integers(config.hardware_models, size=n_racks)
    share = 1.0 / np.arange(1, config.services + 1)
    stateful = np.zeros(config.services, dtype=bool)
    n_stateful = round(config.stateful_share * config.services)
    stateful[rng.permutation(config.services)[:n_stateful]] = True
    # Windows open between 21:00 and 03:00; those that would open after midnight, at 00:00.
    opening = np.sort(rng.integers(0, 13, size=config.domains)) * 1_800 - 3 * 3_600
    return Layout(
        rack=rack,
        domain=rack % config.domains,
        service=rng.choice(config.services, size=config.hosts, p=share / share.sum()),
        hardware=of_rack[rack].astype(np.int64),
        firmware=rng.integers(3, size=config.hosts),
        is_stateful=stateful,
        window_start_s=opening.astype(np.int64) % DAY_S,
    )


def hosts_table(layout: Layout, config: FleetConfig) -> pd.DataFrame:
    """Return hosts.parquet."""
    return pd.DataFrame(
        {
            "host_id": host_names(config),
            "domain": labels("d", config.domains)[layout.domain],
            "rack": labels("r", int(layout.rack[-1]) + 1, 4)[layout.rack],
            "service": labels("svc-", config.services)[layout.service],
            "hardware": labels("hw-", config.hardware_models)[layout.hardware],
            "firmware": labels("fw-", 3, 1)[layout.firmware],
        }
    )


def lanes_of(layout: Layout, config: FleetConfig) -> Ints:
    """Return how many hosts of each domain may be upgraded at a time, shape (n_domains,)."""
    sizes = np.bincount(layout.domain, minlength=config.domains)
    return np.maximum(1, np.round(config.lanes_share * sizes)).astype(np.int64)


def services_table(layout: Layout, config: FleetConfig) -> pd.DataFrame:
    """Return services.csv: caps on the hosts of a service that are down at a time."""
    sizes = np.bincount(layout.service, minlength=config.services)
    # Stateful services have replicas to keep apart: a lower share, and a number as well.
    share = np.where(layout.is_stateful, 0.05, 0.15)
    most = np.maximum(1, np.floor(share * sizes)).astype(int)
    return pd.DataFrame(
        {
            "service": labels("svc-", config.services),
            "max_down_share": share,
            "max_down_hosts": pd.array(
                [
                    int(n) if held else None
                    for n, held in zip(most, layout.is_stateful, strict=True)
                ],
                dtype="Int64",
            ),
            "is_stateful": layout.is_stateful,
        }
    )


def domains_table(layout: Layout, config: FleetConfig) -> pd.DataFrame:
    """Return domains.csv: lanes and nightly windows."""
    return pd.DataFrame(
        {
            "domain": labels("d", config.domains),
            "lanes": lanes_of(layout, config),
            "window_start_s": layout.window_start_s,
            "window_s": config.window_s,
        }
    )


def types_table(config: FleetConfig) -> pd.DataFrame:
    """Return types.csv: precedence, reboot, rollback."""
    return pd.DataFrame(
        {
            "type": [kind.name for kind in config.types],
            "after": [";".join(kind.after) for kind in config.types],
            "needs_reboot": [kind.needs_reboot for kind in config.types],
            "rollback_s": [kind.rollback_s for kind in config.types],
        }
    )


def freezes_table(config: FleetConfig) -> pd.DataFrame:
    """Return freezes.csv: one of a service, one of a domain, one of the whole fleet, all
    in the two weeks after the history.
    """
    after = end_s(config)
    rows = [
        ("*", "svc-00", 2, 3, "svc-00 on call", "product launch"),
        ("d00", "*", 4, 5, "facilities", "power maintenance"),
        ("*", "*", 10, 12, "change board", "end of quarter"),
    ]
    return pd.DataFrame(
        [
            (domain, service, after + first * DAY_S, after + last * DAY_S, owner, reason)
            for domain, service, first, last, owner, reason in rows
        ],
        columns=["domain", "service", "from_s", "until_s", "owner", "reason"],
    )
