"""Generated fleets: the same from the same seed, and what their parameters say."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from models.errors import ConfigError, NotEnoughDataError
from models.settings import ROOT
from models.upgrades import History
from models.upgrades.generator import (
    NO_DEADLINE_S,
    FleetConfig,
    GeneratedFleet,
    GeneratedType,
    StageTimes,
    acceptance,
    generate_fleet,
    shape_of,
    write_fleet,
)
from models.upgrades.generator.acceptance import hill_index, intraclass_correlation
from models.upgrades.history import import_table, imported_events, load_table, read_events

DATASETS = ROOT / "datasets"
# One type, one cause of variation at a time.
PLAIN = {
    "hosts": 1_000,
    "days": 120,
    "types": (GeneratedType(name="bios", apply_s=900, sigma=0.4, rollback_s=600),),
    "stages": StageTimes(sigma=0.0),
    "straggler_share": 0.0,
    "batch_correlation": 0.0,
    "frailty_sigma": 0.0,
    "hardware_sigma": 0.0,
    "release_sigma": 0.0,
    "failure_rate": 0.0,
    "abort_share": 0.0,
    "backlog_per_host": 0.5,
}


def past(**values: object) -> History:
    fleet = generate_fleet(FleetConfig(**{**PLAIN, **values}))
    return imported_events(import_table(fleet.events))


@pytest.fixture(scope="module")
def fleet() -> GeneratedFleet:
    return generate_fleet(FleetConfig(hosts=600, days=90, seed=3))


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_the_same_config_gives_the_same_bytes_and_another_seed_others(tmp_path: Path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_fleet(generate_fleet(FleetConfig(hosts=200, days=60, seed=seed)), tmp_path / name)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    other = digests(tmp_path / "c")
    # Type names and freezes are not drawn.
    same = {name for name, digest in digests(tmp_path / "a").items() if other[name] == digest}
    assert same == {"types.csv", "freezes.csv"}


def test_the_example_fleet_is_what_its_command_makes(tmp_path: Path):
    config = FleetConfig(hosts=400, days=120, seed=7)
    write_fleet(generate_fleet(config), tmp_path)
    shipped = DATASETS / "upgrades" / "example_fleet"
    assert FleetConfig.model_validate_json((shipped / "fleet.json").read_text()) == config
    for file in tmp_path.iterdir():
        kind = pd.read_parquet if file.suffix == ".parquet" else pd.read_csv
        if file.suffix in (".parquet", ".csv"):
            pd.testing.assert_frame_equal(kind(file), kind(shipped / file.name))


def test_a_larger_backlog_does_not_change_the_past():
    small, large = (
        generate_fleet(FleetConfig(hosts=200, days=60, backlog_per_host=share))
        for share in (0.5, 3.0)
    )
    pd.testing.assert_frame_equal(small.events, large.events)


def test_the_written_past_keeps_the_contract_of_the_import_schema(
    fleet: GeneratedFleet, tmp_path: Path
):
    write_fleet(fleet, tmp_path)
    loaded = load_table(tmp_path / "events.parquet", None, DATASETS)
    assert len(loaded.checked.quarantine) == 0
    history = loaded.history()
    running = (fleet.events["outcome"] == "running").sum()
    assert len(history) == len(fleet.events) - running
    assert history.events["is_censored"].sum() == (fleet.events["outcome"] == "aborted").sum()


def test_tables_refer_to_each_other(fleet: GeneratedFleet):
    tables = fleet.tables
    hosts = tables["hosts.parquet"]
    assert hosts["host_id"].is_unique
    assert set(hosts["domain"]) == set(tables["domains.csv"]["domain"])
    assert set(hosts["service"]) <= set(tables["services.csv"]["service"])
    assert (hosts.groupby("rack")["domain"].nunique() == 1).all()
    for name in ("events.parquet", "backlog.parquet"):
        assert set(tables[name]["host_id"]) <= set(hosts["host_id"])
        assert set(tables[name]["type"]) <= set(tables["types.csv"]["type"])
    before = {kind for after in tables["types.csv"]["after"] for kind in after.split(";") if kind}
    assert before <= set(tables["types.csv"]["type"])
    freezes = tables["freezes.csv"]
    assert set(freezes["domain"]) <= {"*", *hosts["domain"]}
    assert set(freezes["service"]) <= {"*", *tables["services.csv"]["service"]}
    assert (freezes["from_s"] < freezes["until_s"]).all()


def test_the_backlog_holds_each_task_once_with_a_release_that_nobody_has_seen(
    fleet: GeneratedFleet,
):
    backlog = fleet.tables["backlog.parquet"]
    assert len(backlog) == 900
    assert not backlog.duplicated(["host_id", "type"]).any()
    assert not set(backlog["release"]) & set(fleet.events["release"])
    assert (backlog["value"] > 0).all()
    assert (backlog["arrival_s"] <= backlog["deadline_s"]).all()
    assert 0.4 < (backlog["deadline_s"] == NO_DEADLINE_S).mean() < 0.6


def test_batches_start_in_the_window_of_their_domain(fleet: GeneratedFleet):
    events = fleet.events.merge(fleet.tables["domains.csv"], on="domain")
    in_day_s = events["started"].astype("datetime64[s]").astype("int64") % 86_400
    into_s = (in_day_s - events["window_start_s"]) % 86_400
    assert (into_s < events["window_s"]).all()
    assert (fleet.events.groupby("batch_id")["started"].nunique() == 1).all()
    assert (fleet.events.groupby("batch_id")["type"].nunique() == 1).all()
    size = fleet.events.groupby(["domain", "batch_id"]).size().groupby("domain").max()
    lanes = fleet.tables["domains.csv"].set_index("domain")["lanes"]
    assert (size <= lanes).all()


def test_the_median_and_spread_of_a_type_are_those_of_its_config():
    history = past()
    logs = np.log(history.seconds("duration_s").astype(float))
    # 900 s apply + 174 reboot + 90 verify + 30 undrain + 120 drain (360 where stateful).
    shortest = 900 + 174 + 90 + 30 + 120
    assert shortest < np.exp(np.median(logs)) < shortest + 240
    assert shape_of(history).log_sigma == pytest.approx(0.4, abs=0.05)


def test_hosts_of_one_batch_share_the_asked_part_of_their_luck():
    assert shape_of(past(batch_correlation=0.5)).batch_correlation == pytest.approx(0.5, abs=0.07)
    assert shape_of(past(batch_correlation=0.0)).batch_correlation == pytest.approx(0.0, abs=0.05)


def test_stragglers_have_the_asked_pareto_tail():
    history = past(straggler_share=0.2, straggler_tail_index=1.5, days=240)
    # The upper quarter of the stragglers: far from the body.
    index = hill_index(history.seconds("duration_s").astype(float), tail_share=0.05)
    assert index == pytest.approx(1.5, rel=0.25)
    longest = history.seconds("duration_s").max()
    assert longest <= 30 * 86_400


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_the_asked_share_is_aborted_and_mostly_the_long_ones(share: float):
    full, cut = past(straggler_share=0.05), past(straggler_share=0.05, abort_share=share)
    assert cut.events["is_censored"].mean() == pytest.approx(share, rel=0.1)
    completed = ~cut.events["is_censored"].to_numpy(bool)
    assert np.quantile(cut.seconds("duration_s")[completed], 0.99) < np.quantile(
        full.seconds("duration_s"), 0.99
    )
    # The same seed draws the same durations: an abort is never longer than the truth.
    both = cut.events.merge(full.events, on=["host_id", "start_s", "type"])
    aborted = both["is_censored_x"]
    assert aborted.sum() > 10
    assert (both["duration_s_x"][aborted] < both["duration_s_y"][aborted]).all()


def test_all_stragglers_and_none_are_possible():
    none, all_ = past(straggler_share=0.0), past(straggler_share=1.0)
    assert np.median(all_.seconds("duration_s")) > 2 * np.median(none.seconds("duration_s"))


def test_failed_tries_take_longer():
    # Each try fails with .5: two tries on average of apply and reboot.
    once, often = past(types=_steady()), past(types=_steady(), failure_rate=0.5)
    added_s = often.seconds("duration_s").mean() - once.seconds("duration_s").mean()
    assert added_s == pytest.approx(900 + 174, rel=0.1)


def test_a_release_shifts_all_its_hosts():
    history = past(release_sigma=1.0, types=_steady())
    logs = pd.Series(np.log(history.seconds("duration_s").astype(float)))
    of_release = logs.groupby(history.events["release"])
    assert of_release.median().std() > 0.3
    assert of_release.std().max() < 0.15


def test_a_host_never_has_two_upgrades_at_a_time(fleet: GeneratedFleet):
    assert (import_table(fleet.events)["overlap_s"] == 0).all()


def test_a_folder_that_was_not_generated_is_left_alone(fleet: GeneratedFleet, tmp_path: Path):
    (tmp_path / "hosts.parquet").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds hosts\.parquet but no fleet\.json"):
        write_fleet(fleet, tmp_path)
    assert (tmp_path / "hosts.parquet").read_text() == "mine"
    with pytest.raises(ConfigError, match="is a file"):
        write_fleet(fleet, tmp_path / "hosts.parquet")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hosts": 0}, "greater than or equal to 1"),
        ({"hosts": 20, "domains": 2}, "fill only 1 racks"),
        ({"types": ()}, "one or more"),
        ({"backlog_per_host": 8}, "only 7 types"),
        ({"straggler_share": 1.5}, "less than or equal to 1"),
        ({"straggler_tail_index": 0}, "greater than 0"),
        (
            {"types": ({"name": "a", "apply_s": 1, "sigma": 0, "rollback_s": 0, "after": ["b"]},)},
            "no cycles",
        ),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(values: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        FleetConfig(**values)


def test_a_history_compared_with_itself_has_no_error(lanl_history: History):
    found = acceptance(lanl_history, lanl_history)
    assert found.qq_error == 0
    assert found.generated == found.real


def test_a_scaled_history_differs_by_its_scale_and_not_in_shape():
    history = past()
    other = read_events(import_table(_scaled(history, 2)))
    found = acceptance(other, history)
    assert found.qq_error == pytest.approx(np.log(2), abs=0.01)
    assert found.qq_shape_error == pytest.approx(0, abs=0.01)


def test_too_short_a_history_is_not_compared():
    short = imported_events(import_table(_scaled(past(), 1).head(50)))
    with pytest.raises(NotEnoughDataError, match=r"at least 100 completed events.* has 50"):
        acceptance(short, past())


def test_the_hill_index_of_a_pareto_sample_is_its_index():
    sample = np.random.default_rng(0).pareto(1.3, 20_000) + 1
    assert hill_index(sample) == pytest.approx(1.3, rel=0.1)


def test_the_intraclass_correlation_matches_a_calculation_by_hand():
    # Groups (1, 3) and (5, 7): mean squares 16 between, 2 within, so (16 - 2) / (16 + 2).
    groups = np.array(["a", "a", "b", "b", "alone"], dtype=object)
    values = np.array([1.0, 3.0, 5.0, 7.0, 99.0])
    assert intraclass_correlation(values, groups) == pytest.approx(14 / 18)
    assert intraclass_correlation(values[:2], groups[:2]) is None


def _steady() -> tuple[GeneratedType, ...]:
    return (GeneratedType(name="bios", apply_s=900, sigma=0.0, rollback_s=600, release_days=20),)


def _scaled(history: History, factor: int) -> pd.DataFrame:
    """The history as an import, every duration times `factor`."""
    events = history.events
    started = events["start_s"].astype("datetime64[s]")
    return events[["host_id", "domain", "service", "type", "outcome", "batch_id"]].assign(
        started=started, ended=started + pd.to_timedelta(events["duration_s"] * factor, "s")
    )
