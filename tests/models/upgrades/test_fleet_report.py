"""The report of a fleet's plan: its numbers by hand, its page self-contained and small."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.upgrades import RolloutConfig, plan_diff, plan_fleet
from models.upgrades.fleet_report import (
    FleetReportInputs,
    fleet_figures,
    render_fleet_report,
    search,
    timeline,
)
from models.upgrades.fleet_report.charts import waves_chart
from models.upgrades.fleet_report.scripts import SCRIPT
from models.upgrades.fleet_report.search import packed_placed, packed_refusals
from models.upgrades.fleet_report.timeline import (
    burn_down_figures,
    cap_risk_figures,
    lane_figures,
    service_figures,
)
from models.upgrades.fleet_report.waves import wave_figures, wave_names
from models.upgrades.fleet_report.words import headline, risk_words, search_words
from models.upgrades.plan import CAP_RISK_COLUMNS
from models.upgrades.rollout.never import never_placed

from .conftest import PLAN_S

DAY_S = 86_400
OPEN_S = PLAN_S + 7_200
CONFIG = RolloutConfig(
    horizon_days=3, canary_hosts=1, wave_shares=(0.5, 1.0), soak_s=3_600, scenarios=0
)


@pytest.fixture
def inputs(make_fleet, even_forecast) -> FleetReportInputs:
    """Eight hosts of two services get release r1; one upgrade is longer than its window."""
    tasks = [(f"d-{service}-{i}", "os", "r1") for service in "st" for i in range(4)]
    fleet = make_fleet([*tasks, ("d-s-9", "bios", "")], lanes=2, most="2")
    forecast = even_forecast([1_200.0] * 8 + [99_999.0])
    plan = plan_fleet(fleet, forecast, CONFIG, PLAN_S)
    return FleetReportInputs(plan, fleet, CONFIG, "there is none")


def test_every_placed_task_has_a_bar_and_large_plans_are_summed_by_hour(
    inputs: FleetReportInputs, monkeypatch: pytest.MonkeyPatch
):
    plan, fleet = inputs.plan, inputs.fleet
    small = lane_figures(plan, fleet)
    assert small["kind"] == "tasks"
    assert {bar["task"] for bar in small["bars"]} == set(plan.assignments["task"])
    monkeypatch.setattr(timeline, "MOST_BARS", 3)
    large = lane_figures(plan, fleet)
    assert large["kind"] == "hours"
    (row,) = large["domains"]
    # Lane-hours by two ways: over hours, and over tasks.
    lasts_s = (plan.assignments["end_s"] - plan.assignments["start_s"]).sum()
    assert sum(row["in_use"]) == pytest.approx(lasts_s / 3_600, abs=0.01 * len(row["in_use"]))
    assert max(row["in_use"]) <= row["lanes"] == 2
    assert large["n_tasks"] == len(plan.assignments)
    assert "plan.parquet" in large["left_out"]


def test_domains_beyond_the_most_are_left_out_and_counted(
    inputs: FleetReportInputs, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(timeline, "MOST_BARS", 0)
    monkeypatch.setattr(timeline, "MOST_DOMAINS", 0)
    found = lane_figures(inputs.plan, inputs.fleet)
    assert found["domains"] == []
    assert "1 domains with the fewest tasks are left out" in found["left_out"]


def test_hours_hold_the_share_of_them_that_was_used():
    hours = np.array([0, 3_600, 7_200])
    tasks = pd.DataFrame({"start_s": [1_800, 3_600], "end_s": [5_400, 3_900]})
    assert timeline._time_in(tasks, hours).tolist() == [1_800, 2_100, 0]
    at_s, down = np.array([100.0, 100.0, 4_000.0, 8_000.0]), np.array([1.0, 2.0, 1.0, 0.0])
    # Two at 100 s; the second hour begins with both; the third with one.
    assert timeline._most_in(hours, at_s, down) == [2, 2, 1]


def test_waves_follow_each_other_with_their_soak(inputs: FleetReportInputs):
    waves = wave_figures(inputs.plan, CONFIG)
    assert wave_names(CONFIG) == ["canary", "to 50 %", "to 100 %"]
    assert [(wave["wave"], wave["placed"]) for wave in waves] == [(0, 1), (1, 3), (2, 4)]
    for before, after in pairwise(waves):
        assert before["soaked_s"] == before["end_s"] + 3_600
        assert after["start_s"] >= before["soaked_s"]


def test_the_burn_down_ends_at_what_has_no_place(inputs: FleetReportInputs):
    burn = burn_down_figures(inputs.plan, inputs.fleet, CONFIG)
    assert burn["tasks_left"][-1] == burn["hosts_left"][-1] == len(inputs.plan.refusals) == 1
    ends_s = inputs.plan.assignments["end_s"]
    first = int((ends_s <= PLAN_S + DAY_S).sum())
    assert burn["tasks_left"][0] == 9 - first
    # The ninth needs a longer window: no number of days places it.
    assert burn["n_never"] == 1
    assert burn["days_to_full"] == pytest.approx((ends_s.max() - PLAN_S) / DAY_S, abs=0.01)
    numbers = fleet_figures(inputs)
    assert "1 of 9 have no place under these windows, ever" in headline(numbers)
    whole = replace(inputs.plan, refusals=inputs.plan.refusals.iloc[:0])
    days = burn_down_figures(whole, inputs.fleet, CONFIG)["days_to_full"]
    assert days == pytest.approx((ends_s.max() - PLAN_S) / DAY_S, abs=0.01)


def test_services_stay_within_the_caps_of_a_checked_plan(inputs: FleetReportInputs):
    services = service_figures(inputs.plan, inputs.fleet)
    assert {load["service"] for load in services} == {"s", "t"}
    for load in services:
        assert load["cap"] == 2
        assert max(load["down"]) == load["peak"] <= 2
        assert len(load["down"]) == len(load["hour_s"])


def test_the_likeliest_breach_of_each_service_is_shown(inputs: FleetReportInputs):
    assert cap_risk_figures(inputs.plan) is None
    assert "not measured" in risk_words(None)
    rows = [("s", OPEN_S, 2, 4, 0.01, False), ("s", OPEN_S + DAY_S, 2, 6, 0.2, True)]
    rows += [("t", OPEN_S, 3, 4, 0.05, False)]
    risk = pd.DataFrame(rows, columns=list(CAP_RISK_COLUMNS))
    limited = CONFIG.model_copy(update={"scenarios": 10})
    found = replace(inputs, plan=replace(inputs.plan, cap_risk=risk), config=limited)
    numbers = fleet_figures(found)
    assert [(r["service"], r["p_breach"], r["windows"]) for r in numbers["cap_risk"]] == [
        *(("s", 0.2, 1), ("t", 0.05, 0))
    ]
    page = render_fleet_report(found, numbers)
    assert "chart-cap_risk" in page
    assert "that of s in the window of" in page
    warning = (
        "1 service is likely to have more hosts down than its cap (s 20% in the worst night); "
        "set rollout.cap_breach_eps=0.05 to make room"
    )
    assert numbers["cap_warning"] == warning
    assert f"Red: {warning}." in page
    assert "services likely above their cap</span><small>s 20% in its worst night" in page


def test_the_page_is_whole_says_so_and_holds_every_refusal(inputs: FleetReportInputs):
    before = inputs.plan.assignments
    earlier = replace(inputs.plan, assignments=before.assign(start_s=before["start_s"] - 60))
    difference = plan_diff(earlier, inputs.plan)
    found = replace(inputs, changes=f"{difference} (run x)", difference=difference)
    numbers = fleet_figures(found)
    json.dumps(numbers, allow_nan=False)
    page = render_fleet_report(found, numbers)
    assert not re.search(r"""(src|href)=['"]?http""", page)
    assert len(page.encode()) < 2_500_000
    assert headline(numbers) in page
    assert "nothing was executed" in page
    assert "8 moved, 0 added, 0 removed, 0 as before (run x)" in page
    assert numbers["changes"]["counts"] == {"moved": 8, "added": 0, "removed": 0, "same": 0}
    (refused,) = inputs.plan.refusals.to_dict("records")
    assert numbers["examples"] == {
        refused["reason"]: [
            {"task": "t8", "host": "d-s-9", "detail": refused["detail"], "tasks": 1}
        ]
    }
    charts = json.loads(unpacked(page, "packed-charts"))
    assert {f"chart-{name}" for name in ("lanes", "waves", "burn_down", "services")} < set(charts)
    assert all(f"id='{name}'" in page for name in charts)
    table = json.loads(unpacked(page, "packed-refusals"))
    assert table["host"] == {"steps": [0], "values": ["d-s-9"]}
    assert table["detail"]["values"] == [refused["detail"]]
    assert render_fleet_report(found, numbers) == page


def test_a_plan_without_a_place_for_anything_is_drawn_too(make_fleet, even_forecast):
    fleet = make_fleet([("d-s-0", "os", "")])
    plan = plan_fleet(fleet, even_forecast([99_999.0]), CONFIG, PLAN_S)
    inputs = FleetReportInputs(plan, fleet, CONFIG, "there is none")
    page = render_fleet_report(inputs, fleet_figures(inputs))
    assert "0 of 1 upgrades (0%) have a place" in page
    assert "the fleet is never done" in page
    assert "No task has a release" in page


def test_names_cannot_break_out_of_the_page(make_fleet, even_forecast):
    fleet = make_fleet([("d-<b>s-0", "os", "<script>r")])
    plan = plan_fleet(fleet, even_forecast([600.0]), CONFIG, PLAN_S)
    inputs = FleetReportInputs(plan, fleet, CONFIG, "<script>words")
    page = render_fleet_report(inputs, fleet_figures(inputs))
    assert "<script>words" not in page
    assert "<script>r" not in page


def test_the_search_keeps_the_dearest_tasks_where_all_are_too_many(
    inputs: FleetReportInputs, monkeypatch: pytest.MonkeyPatch
):
    row = inputs.plan.refusals.iloc[0]
    many = pd.DataFrame([row] * 4_000).assign(
        task=[f"t{i}" for i in range(4_000)],
        detail=[f"sentence {i * 7919 % 4001}" for i in range(4_000)],
        value=np.arange(4_000.0),
    )
    assert packed_refusals(many)[1] == 4_000
    monkeypatch.setattr(search, "MOST_REFUSAL_BYTES", 10_000)
    text, n_kept = packed_refusals(many)
    assert len(text) <= 10_000
    assert 100 < n_kept < 4_000
    table = json.loads(gzip.decompress(base64.b64decode(text)))
    assert set(table["task"]["values"]) == {f"t{i}" for i in range(4_000 - n_kept, 4_000)}
    said = search_words(n_kept, 4_000, 7, 7)
    assert said.startswith(f"The search covers the {n_kept:,} tasks without a place of the highest")
    assert "and all 7 placed ones" in said


def test_the_search_finds_placed_and_refused_tasks_and_counts_one_as_one(
    inputs: FleetReportInputs, tmp_path: Path
):
    """The page's own script, run on its own tables by node."""
    page = render_fleet_report(inputs, fleet_figures(inputs))
    asked = ["d-s-9", "d-s-0", "placed", "nobody", ""]
    found = searched(page, asked, tmp_path)
    assert [said for said, _ in found] == [
        *("1 task found", "1 task found", "8 tasks found", "0 tasks found", "9 tasks found")
    ]
    ((refused,), (placed,)) = found[0][1], found[1][1]
    truth = inputs.plan.refusals.iloc[0]
    assert refused[-2:] == [truth["reason"], truth["detail"]]
    row = inputs.plan.assignments.set_index("host").loc["d-s-0"]
    start = pd.Timestamp(row["start_s"], unit="s").strftime("%Y-%m-%d %H:%M")
    assert placed == [
        *(row["task"], "d-s-0", "d", "s", "os", "r1", "placed"),
        f"placed {start}, lane {row['lane']}, wave {row['wave']}",
    ]


def searched(page: str, asked: list[str], folder: Path) -> list[tuple[str, list[list[str]]]]:
    """What the page shows for each query: the count, and the cells of each row."""
    tables = {name: unpacked(page, name) for name in ("packed-refusals", "packed-placed")}
    script = SCRIPT.replace("drawCharts().catch(failed);\nsearch().catch(failed);", "")
    (folder / "search.js").write_text(f"""
const made = () => ({{children: [], appendChild(c) {{ this.children.push(c); }},
  replaceChildren(...all) {{ this.children = all; }},
  addEventListener(_, act) {{ this.act = act; }}, value: ""}});
const byId = {{search: made(), found: made(), count: made()}};
globalThis.document = {{getElementById: id => byId[id], createElement: made}};
{script.replace("const unpack =", "const unpackPage =")}
const tables = {json.dumps(tables)};
const unpack = async id => tables[id];
search().then(() => console.log(JSON.stringify({json.dumps(asked)}.map(text => {{
  byId.search.value = text;
  byId.search.act();
  const rows = byId.found.children.map(row => row.children.map(cell => cell.textContent));
  return [byId.count.textContent, rows];
}}))));
""")
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    done = subprocess.run(
        [node, folder / "search.js"], check=True, capture_output=True, text=True, timeout=60
    )
    return [(said, rows) for said, rows in json.loads(done.stdout)]


def test_placed_tasks_are_packed_small_and_cut_to_what_is_left():
    n = 20_000
    rng = np.random.default_rng(0)
    placed = pd.DataFrame(
        {
            "task": [f"task-{i:06}" for i in range(n)],
            "host": [f"h-{i:06}" for i in range(n)],
            "domain": "d",
            "service": "s",
            "type": "os",
            "release": "r1",
            "value": np.arange(float(n)),
            "start_s": PLAN_S + rng.integers(0, 7 * DAY_S, n),
            "lane": rng.integers(0, 40, n),
            "wave": 1,
        }
    )
    text, n_kept = packed_placed(placed, 10**9, PLAN_S)
    assert n_kept == n
    # 100,000 of them in the 0.9 MB that the refusals leave at worst would be 9 each.
    assert len(text) < 15 * n
    text, n_kept = packed_placed(placed, 50_000, PLAN_S)
    assert len(text) <= 50_000
    assert 2_000 < n_kept < n


def test_a_release_without_a_place_is_in_the_waves_and_every_wave_in_the_legend(
    make_fleet, even_forecast
):
    """All of r2 is too long for a window; r1 is so small that its wave 1 has no host."""
    fleet = make_fleet([("d-s-0", "os", "r1"), ("d-s-1", "os", "r1"), ("d-s-2", "os", "r2")])
    config = CONFIG.model_copy(update={"wave_shares": (0.1, 1.0)})
    plan = plan_fleet(fleet, even_forecast([600.0, 600.0, 99_999.0]), config, PLAN_S)
    waves = wave_figures(plan, config)
    assert [(wave["release"], wave["wave"], wave["placed"], wave["waiting"]) for wave in waves] == [
        *(("os r1", 0, 1, 0), ("os r1", 2, 1, 0), ("os r2", None, 0, 1))
    ]
    chart = waves_chart(waves, wave_names(config))
    assert [trace.name for trace in chart.data] == [
        *("soak", "wave 0, canary", "wave 1, to 10 % (no hosts)", "wave 2, to 100 %")
    ]
    assert all(len(trace.x) for trace in chart.data)
    assert list(chart.layout.yaxis.ticktext) == ["os r1", "os r2"]


def test_what_waits_behind_a_task_that_is_never_placed_is_never_placed_either(
    make_fleet, even_forecast
):
    """Of six hosts with a bios before their os, four have one that no window is long enough for."""
    tasks = [(f"d-s-{i}", "os", "r1") for i in range(6)]
    fleet = make_fleet([*tasks, *((f"d-s-{i}", "bios", "") for i in range(6))], after="bios")
    config = CONFIG.model_copy(update={"canary_hosts": 4, "wave_shares": (1.0,)})
    reserved = [600.0] * 6 + [np.inf] * 4 + [600.0] * 2
    plan = plan_fleet(fleet, even_forecast(reserved), config, PLAN_S)
    reasons = plan.refusals.set_index("task")["reason"]
    never = dict(zip(plan.refusals["task"], never_placed(plan, fleet, config), strict=True))
    assert {reasons[task] for task in ("t6", "t7", "t8", "t9")} == {"needs longer window"}
    assert all(never[task] for task in ("t6", "t7", "t8", "t9", "t0", "t1", "t2", "t3"))
    # Tasks of the second wave whose first cannot reach its quorum.
    assert all(never[task] for task in reasons.index[reasons == "wave gate"])
    # Forty tasks on a lane that takes one a night only need more nights.
    many = make_fleet([(f"d-s-{i}", "os", "") for i in range(40)], lanes=1)
    full = plan_fleet(many, even_forecast([3_000.0] * 40), config, PLAN_S)
    waiting = never_placed(full, many, config)
    assert len(waiting) == 37
    assert not waiting.any()
    # With deadlines within the horizon there is no other night.
    soon = replace(many, backlog=many.backlog.assign(deadline_s=PLAN_S + 3 * DAY_S))
    assert never_placed(full, soon, config).all()


def unpacked(page: str, name: str) -> str:
    found = re.search(rf'id="{name}">([^<]*)</script>', page)
    assert found is not None
    return gzip.decompress(base64.b64decode(found[1])).decode()
