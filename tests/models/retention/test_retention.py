"""Which runs and files go, and which stay whatever their age."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.html_page import page
from models.retention import (
    CleanUp,
    CleanUpConfig,
    RecordedRun,
    clean_up_page,
    folders_of,
    old_files,
    old_runs,
    remove_files,
)

DAY = 86_400.0
NOW = 1_000 * DAY


def run(name: str, age: float, **changed: object) -> RecordedRun:
    """Return a run that ended `age` days ago."""
    ended = NOW - age * DAY
    facts = {"id": name, "name": name, "experiment": "upgrades", "started_s": ended - 60,
             "ended_s": ended}  # fmt: skip
    return RecordedRun(**(facts | changed))


def gone(runs: list[RecordedRun], needed: tuple[str, ...] = (), **changed: float) -> list[str]:
    config = CleanUpConfig(**({"days": 90, "keep_newest": 0} | changed))
    return [one.id for one in old_runs(runs, needed, config, NOW)]


def test_old_runs_go_oldest_first_and_young_ones_stay():
    assert gone([run("a", 91), run("b", 89), run("c", 200)]) == ["c", "a"]


@pytest.mark.parametrize(
    "kept",
    [run("a", 400, is_marked=True), run("a", 400, ended_s=None)],
    ids=["marked", "still going on"],
)
def test_what_is_marked_or_goes_on_stays(kept: RecordedRun):
    assert gone([kept, run("b", 400)]) == ["b"]


def test_what_a_registered_model_came_from_stays():
    assert gone([run("a", 400), run("b", 400)], needed=("a",)) == ["b"]


def test_the_newest_of_each_experiment_stay_however_old():
    runs = [run("a", 400), run("b", 300), run("c", 200), run("x", 500, experiment="kernels")]
    assert gone(runs, keep_newest=1) == ["a", "b"]


def test_a_run_and_its_children_go_or_stay_together():
    family = [run("head", 400), run("child", 399, parent="head"),
              run("grandchild", 398, parent="child")]  # fmt: skip
    assert set(gone(family)) == {"head", "child", "grandchild"}
    for place in range(3):
        young = [run(one.id, 1, parent=one.parent) if at == place else one
                 for at, one in enumerate(family)]  # fmt: skip
        assert gone(young) == []
    assert gone(family, needed=("grandchild",)) == []
    # Children do not count as the newest of an experiment: their heads do.
    assert gone([*family, run("new", 100)], keep_newest=1) == ["head", "child", "grandchild"]


def test_a_child_whose_parent_is_gone_is_judged_alone():
    assert gone([run("child", 400, parent="nobody"), run("b", 1)]) == ["child"]


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 400)), min_size=1, max_size=7))
def test_parents_in_a_circle_end_and_nothing_young_ever_goes(drawn: list[tuple[int, float]]):
    runs = [run(str(at), age, parent=str(parent)) for at, (parent, age) in enumerate(drawn)]
    ages = {str(at): age for at, (_, age) in enumerate(drawn)}
    assert all(ages[name] > 90 for name in gone(runs))


def test_files_go_by_the_time_they_were_written_and_links_are_not_followed(tmp_path: Path):
    outside = tmp_path / "outside"
    home = tmp_path / "home"
    for folder in (outside, home / "results" / "deep"):
        folder.mkdir(parents=True)
    for place, age in ((home / "results" / "old", 31), (home / "results" / "deep" / "older", 60),
                       (home / "results" / "new", 29), (outside / "theirs", 400)):  # fmt: skip
        place.write_bytes(b"12345")
        os.utime(place, (NOW - age * DAY, NOW - age * DAY))
    (home / "results" / "link").symlink_to(outside)
    found = old_files(home / "results", 30, NOW)
    assert [(file.name, size) for file, size in found] == [("older", 5), ("old", 5)]
    (home / "results" / "old").unlink()  # somebody was faster
    assert remove_files(file for file, _ in found) == 2
    assert sorted(file.name for file in (home / "results").rglob("*")) == ["deep", "link", "new"]
    assert (outside / "theirs").exists()
    (folder,) = folders_of(home)
    assert (folder.name, folder.files, folder.size) == ("results", 1, 5)
    assert old_files(tmp_path / "nothing", 1, NOW) == []


def test_the_page_says_what_went_and_shows_names_as_text():
    runs = [run(f"<i>{number}", 100 + number) for number in range(201)]
    done = CleanUp(runs, 300, 4, 8_000_000, 3, 2_500_000, (), ("ask <them>",))
    told = clean_up_page(done, CleanUpConfig(apply=True))
    assert told.startswith(page("Clean-up", "").split("<body>")[0][:60])
    for words in ("201", "tracked runs removed", "of 300", "8.0 MB", "2.5 MB freed",
                  "&lt;i&gt;0", "and 1 more", "ask &lt;them&gt;"):  # fmt: skip
        assert words in told, words
    assert "<i>" not in told
    assert "would go" in clean_up_page(done, CleanUpConfig())
