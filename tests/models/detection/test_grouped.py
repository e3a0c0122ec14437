"""Sessions judged by those of other servers: what may be learned, and what may not."""

import random

import numpy as np
import pytest

from models.detection.evaluation.grouped import (
    can_be_grouped,
    declared_tools,
    grouped_scores,
    judged,
)
from models.detection.evaluation.labelled import Labels, session_of
from models.detection.evaluation.score import Row, Score
from models.detection.evaluation.sessions import ADR_BENCH
from models.errors import DataError

WORDS = [
    "budget",
    "meeting",
    "invoice",
    "garden",
    "weather",
    "ticket",
    "report",
    "coffee",
    "letter",
    "window",
]


def row(server: str, text: str, *, is_attack: bool) -> Row:
    session = session_of({"session": {"events": [
        {"seq": 0, "kind": "user_message", "text": "do it"},
        {"seq": 1, "kind": "tool_call", "call_id": "c", "server": server, "tool": "ask",
         "args": {}},
        {"seq": 2, "kind": "tool_result", "call_id": "c", "text": text, "status": "ok"},
    ]}})  # fmt: skip
    labels = Labels(is_attack, "malicious_task" if is_attack else "benign_task", "public_test", "",
                    "", server, "", None, False, (), "", (server,), ())  # fmt: skip
    return session, labels


def rows_where(sign: dict[str, str], *, servers: int = 24, name: str = "srv_name_") -> list[Row]:
    """Return two sessions per server, every other server's attacks; `sign`: their word."""
    draw = random.Random(3)
    rows = []
    for number in range(servers):
        server, is_attack = f"{name}{'abcdefghijklmnopqrstuvwxyz'[number]}", number % 2 == 0
        for _ in range(2):
            words = draw.sample(WORDS, 4)
            words += [sign.get(server, sign.get("all", ""))] if is_attack else []
            rows.append(row(server, " ".join([server, *words]), is_attack=is_attack))
    return rows


def first(rows: list[Row]) -> Score:
    return grouped_scores(rows, "made up", 1)[0]


def test_what_attacks_of_all_servers_have_in_common_is_learned():
    found = first(rows_where({"all": "exfiltrate"}))
    assert found.f1 is not None
    assert found.f1 > 0.85


def test_what_one_server_alone_says_is_never_learned_from_it():
    # Each attacking server has a word of its own, in both of its sessions: whoever learns from
    # the one knows the other.
    signs = {f"srv_name_{letter}": letter * 5 for letter in "abcdefghijklmnopqrstuvwx"}
    found = first(rows_where(signs))
    assert found.f1 is not None
    assert found.f1 < 0.7  # as by chance: half are attacks


def test_names_are_struck_out_so_renaming_changes_nothing():
    signs = {"all": "exfiltrate"}
    assert first(rows_where(signs)) == first(rows_where(signs, name="exfiltrate_"))


def test_a_shuffled_label_teaches_nothing():
    scores = grouped_scores(rows_where({"all": "exfiltrate"}), "made up", 1)
    (chance,) = [one for one in scores if one.detector.startswith("labels shuffled")]
    assert chance.f1 is not None
    assert chance.f1 < 0.7


def test_who_is_learned_from_is_apart_from_who_is_judged():
    truth = np.array([True, False, True, False])
    apart = np.array([[False, False, True, True]] * 2 + [[True, True, False, False]] * 2)
    seen = []

    def learn(known, asked):
        seen.append((known.tolist(), asked.tolist()))
        return np.full(asked.sum(), 0.25)

    assert judged(truth, apart, learn).tolist() == [0.25] * 4
    assert sorted(seen) == [
        ([False, False, True, True], [True, True, False, False]),
        ([True, True, False, False], [False, False, True, True]),
    ]


def test_too_few_sessions_are_refused_with_what_is_needed():
    rows = rows_where({"all": "exfiltrate"}, servers=6)
    assert not can_be_grouped(rows)
    with pytest.raises(DataError, match="10 attacks, 10 others and 10 servers"):
        first(rows)


def test_tools_of_the_benchmark_declare_themselves():
    declared = declared_tools(ADR_BENCH.with_name("tasks.json.gz"))
    assert "Create a new Atlas project" in declared["task_manager/atlas_project_create"]
    assert len(declared) > 500
