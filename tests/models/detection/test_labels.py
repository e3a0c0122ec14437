"""The lattice: joins, rules of an operator, files that are none."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from models.detection.dataflow.labels import (
    Confidentiality,
    Integrity,
    Label,
    Labels,
    read_labels,
)
from models.detection.session import ToolCall
from models.errors import DataError

ALL = [Label(*pair) for pair in product(Integrity, Confidentiality)]


def test_a_join_is_that_of_a_lattice():
    for one, other in product(ALL, ALL):
        both = one.join(other)
        assert both == other.join(one)
        assert one.join(one) == one
        assert both.integrity <= min(one.integrity, other.integrity)
        assert both.confidentiality >= max(one.confidentiality, other.confidentiality)
        # Joined again nothing changes: it is the least that is above both.
        assert both.join(one) == both


def test_nobody_is_trusted_unless_an_operator_says_so(tmp_path: Path):
    assert Labels().of(ToolCall("1", "anything")) == Label()
    assert Labels().of(None).integrity is Integrity.CONTENT
    file = tmp_path / "labels.toml"
    file.write_text(
        '[[tool]]\nserver = "runbooks"\ntool = "get_*"\nintegrity = "operator"\n'
        '[[tool]]\ntool = "hr_*"\nconfidentiality = "personal"\n'
    )
    labels = read_labels(file)
    runbook = labels.of(ToolCall("1", "get_steps", "runbooks"))
    assert runbook.integrity is Integrity.OPERATOR
    assert labels.of(ToolCall("1", "get_steps", "elsewhere")) == Label()
    assert labels.of(ToolCall("1", "put", "runbooks")) == Label()
    salary = labels.of(ToolCall("1", "hr_salary", "x"))
    assert (salary.integrity, salary.confidentiality) == (
        Integrity.CONTENT,
        Confidentiality.PERSONAL,
    )
    assert labels.digest
    assert labels.digest != Labels(labels.rules[:1]).digest
    assert Labels().digest == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[tool]]\nintegrity = 'holy'", "`holy` is none of content, third_party"),
        ("[[tool]]\nserverr = 'x'", "unknown key `serverr`"),
        ("tools = 1", "unknown key `tools`"),
        ("tool = 3", "holds no labels"),
        ("[[tool", "holds no labels"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str, words: str):
    file = tmp_path / "labels.toml"
    file.write_text(text)
    with pytest.raises(DataError, match=words):
        read_labels(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "gone.toml")
