"""Sessions judged by what was learned from the sessions of other servers, and from nothing else.

In ADR-Bench a server says whether its session is an attack, so a detector that has met a server
knows. Here each session is judged by a model of the sessions that share no server with it: it has
seen neither the attacking server nor the harmless ones beside it. Nothing is chosen on what is
judged: there is one model, its size is declared, and an alarm is a chance of one half with both
classes weighing the same.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.detection.evaluation.score import Row, Score, score
from models.detection.session import Session
from models.errors import DataError

Chances = NDArray[np.float64]
Learn = Callable[[NDArray[np.bool_], NDArray[np.bool_]], Chances]
"""Given who is learned from and who is judged, return the chances of the latter."""

FEWEST = 10
"""Attacks, and others, that are needed for anything to be learned from them."""

_WORD = r"[a-z]{3,}"
_PATH = re.compile(r"\S*mcp_servers_\d+\S*")
_INVERSE_REGULARISATION = 10.0
_ALARM = 0.5


def can_be_grouped(rows: Sequence[Row]) -> bool:
    """Return whether the sessions name their servers, and there are enough of both kinds."""
    attacks = sum(labels.is_attack for _, labels in rows)
    servers = {one for _, labels in rows for one in labels.servers}
    return min(attacks, len(rows) - attacks) >= FEWEST and len(servers) >= FEWEST


def grouped_scores(
    rows: Sequence[Row], kind: str, seed: int, declared: Mapping[str, str] | None = None
) -> list[Score]:
    """Judge every session by sessions of other servers.

    Args:
        rows: With the true names of servers and tools: these are struck out of all texts.
        kind: What the sessions are called.
        seed: Of the order in which labels are shuffled, for the row that has to be chance.
        declared: What each tool (server/tool) declares of itself, for a row that reads it too.

    Returns:
        By words of results; the same of sessions whose every call was answered; with what tools
        declare; by the shape of a session alone; by words with labels shuffled.

    Raises:
        DataError: Too few attacks, others or servers (`can_be_grouped`).
    """
    if not can_be_grouped(rows):
        raise DataError(
            f"{kind}: {FEWEST} attacks, {FEWEST} others and {FEWEST} servers are needed to judge "
            "sessions by those of other servers"
        )
    apart = _apart(rows)
    truth = np.array([labels.is_attack for _, labels in rows])
    strike = _names(rows)
    results = [_results(session, strike) for session, _ in rows]

    def told(texts: Sequence[str], labels: NDArray[np.bool_]) -> dict[int, bool]:
        return _told(rows, judged(labels, apart, by_words(texts, labels)))

    ours = told(results, truth)
    scores = [score("learned from other servers", kind, lambda one: ours[id(one)], rows)]
    answered = [row for row in rows if all(one.status == "ok" for one in _answers(row[0]))]
    scores.append(
        score("learned from other servers", f"{kind}: every call answered",
              lambda one: ours[id(one)], answered)
    )  # fmt: skip
    if declared:
        both = [
            f"{text} {_declared(session, declared, strike)}"
            for text, (session, _) in zip(results, rows, strict=True)
        ]
        more = told(both, truth)
        scores.append(
            score("the same, with what tools declare", kind, lambda one: more[id(one)], rows)
        )
    shape = _told(rows, judged(truth, apart, _by_shape([session for session, _ in rows], truth)))
    scores.append(score("shape, other servers", kind, lambda one: shape[id(one)], rows))
    mixed = np.random.default_rng(seed).permutation(truth)
    chance = told(results, mixed)
    scores.append(score("labels shuffled, other servers", kind, lambda one: chance[id(one)], rows))
    return scores


def judged(truth: NDArray[np.bool_], apart: NDArray[np.bool_], learn: Learn) -> Chances:
    """Return the chance of each session by those that are apart from it.

    Args:
        truth: Labels, shape (n,).
        apart: Whether one session may be learned from for another, shape (n, n).
        learn: The model.
    """
    chances = np.zeros(len(truth))
    kinds, places = np.unique(apart, axis=0, return_inverse=True)
    for number, known in enumerate(kinds):
        asked = places.reshape(-1) == number
        has_both = truth[known].any() and not truth[known].all()
        chances[asked] = learn(known, asked) if has_both else 0.0
    return chances


def by_words(texts: Sequence[str], truth: NDArray[np.bool_]) -> Learn:
    """Return a linear model of which words and pairs of words stand in a session."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    counter = CountVectorizer(binary=True, ngram_range=(1, 2), token_pattern=_WORD)
    counts: csr_matrix = csr_matrix(counter.fit_transform(texts), dtype=np.float64)

    def learn(known: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Chances:
        # Words are chosen and weighed by who is learned from alone.
        columns = np.asarray(counts[known].sum(axis=0)).reshape(-1) >= 2
        weigh = TfidfTransformer().fit(counts[known][:, columns])
        return _logistic(
            weigh.transform(counts[known][:, columns]),
            truth[known],
            weigh.transform(counts[asked][:, columns]),
        )

    return learn


def declared_tools(file: Path) -> dict[str, str]:
    """Return what each tool of ADR-Bench declares: its description and the names of its arguments.

    Args:
        file: `tasks.json.gz` of datasets/detection/adr_bench.
    """
    servers = orjson.loads(gzip.decompress(file.read_bytes()))["servers"]
    return {
        f"{server['server']}/{tool['tool']}": " ".join(
            [tool.get("description") or "", *(tool.get("input_schema") or {}).get("properties", {})]
        )
        for server in servers
        for tool in server.get("tools") or ()
    }


def _by_shape(sessions: Sequence[Session], truth: NDArray[np.bool_]) -> Learn:
    """Return a linear model of how many calls, servers and missing results there are."""
    features = np.log1p(
        [
            [
                sum(1 for _ in one.calls()),
                len({call.server for _, call in one.calls()}),
                sum(answer.status == "missing" for answer in _answers(one)),
                sum(answer.status == "error" for answer in _answers(one)),
            ]
            for one in sessions
        ]
    )
    return lambda known, asked: _logistic(features[known], truth[known], features[asked])


def _logistic(known: Any, truth: NDArray[np.bool_], asked: Any) -> Chances:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=_INVERSE_REGULARISATION, class_weight="balanced", solver="liblinear", random_state=0
    )
    model.fit(known, truth)
    return np.asarray(model.predict_proba(asked)[:, 1])


def _apart(rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Return which sessions share no server, neither of their task nor of their calls."""
    servers = [
        {*labels.servers, *labels.vulnerable, *(call.server for _, call in session.calls())}
        for session, labels in rows
    ]
    number = {name: place for place, name in enumerate(sorted(set().union(*servers)))}
    member = np.zeros((len(rows), len(number)), dtype=np.int64)
    for place, names in enumerate(servers):
        member[place, [number[name] for name in names]] = 1
    apart: NDArray[np.bool_] = member @ member.T == 0
    np.fill_diagonal(apart, False)
    return apart


def _names(rows: Sequence[Row]) -> re.Pattern[str]:
    names = {name for _, labels in rows for name in (*labels.servers, *labels.vulnerable)}
    names |= {name for session, _ in rows for _, call in session.calls()
              for name in (call.server, call.tool)}  # fmt: skip
    longest = sorted((re.escape(name) for name in names if name), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest)})\b")


def _answers(session: Session) -> list[Any]:
    return [event for event in session.events if event.kind == "tool_result"]


def _results(session: Session, strike: re.Pattern[str]) -> str:
    texts = (one.text for one in _answers(session) if one.status == "ok")
    return _plain(" ".join(texts), strike)


def _declared(session: Session, declared: Mapping[str, str], strike: re.Pattern[str]) -> str:
    tools = (f"{call.server}/{call.tool}" for _, call in session.calls())
    return _plain(" ".join(declared.get(one, "") for one in tools), strike)


def _plain(text: str, strike: re.Pattern[str]) -> str:
    """Return a text in small letters, without names of servers and tools, paths and numbers."""
    return re.sub(r"[_\d]+", " ", strike.sub(" ", _PATH.sub(" ", text))).lower()


def _told(rows: Sequence[Row], chances: Chances) -> dict[int, bool]:
    return {id(session): bool(chance >= _ALARM)
            for (session, _), chance in zip(rows, chances, strict=True)}  # fmt: skip
