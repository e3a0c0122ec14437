"""The shipped documents keep their contract, and files that do not are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from models.contracts import check_table, read_contract
from models.errors import ConfigError, DatasetMissingError, DatasetUnreadableError
from models.sharding.knowledge import read_documents
from models.sharding.knowledge.documents import SHIPPED, TOPICS
from models.sharding.knowledge.guard import instruction_signs
from models.sharding.specs.catalog import load_models
from models.sharding.specs.chip import load_chips

ROW = {
    "id": "one", "title": "A title", "text": "Twenty letters or more.", "source": "Paper",
    "topics": ["tensor"],
}  # fmt: skip


def test_the_shipped_documents_keep_their_contract():
    documents = read_documents()
    assert 60 <= len(documents) <= 100
    contract = read_contract(SHIPPED.parent)
    assert contract.file == SHIPPED.name
    frame = pd.DataFrame(
        [one.model_dump(include={"id", "title", "text", "source"}) for one in documents]
    )
    checked = check_table(contract, frame)
    assert checked.quarantine.empty
    assert len(checked.frame) == len(documents)


def test_every_topic_is_explained_and_every_name_in_a_facet_exists():
    documents = read_documents()
    assert {topic for one in documents for topic in one.topics} == TOPICS
    families = {spec.family for spec in load_models().values()}
    for one in documents:
        assert one.about.get("chip", frozenset()) <= set(load_chips()), one.id
        for group in one.groups:
            family, chip = group.split("/")
            assert family in families, one.id
            assert chip in load_chips(), one.id


def test_no_shipped_document_reads_like_an_instruction():
    found = {one.id: instruction_signs(f"{one.title} {one.text}") for one in read_documents()}
    assert not {id: signs for id, signs in found.items() if signs}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"topics": ["magic"]}, "topics: magic; known: bubble"),
        ({"topics": []}, "topics: none"),
        ({"about": {"colour": ["red"]}}, "facet 'colour'; known: kind"),
        ({"about": {"stage": ["sleep"]}}, "stage: sleep; known: finetune"),
        ({"id": "Not An Id"}, "id"),
        ({"text": "short"}, "text"),
        ({"run": "rm"}, "Extra inputs"),
    ],
)
def test_a_document_that_breaks_a_rule_is_named_with_its_line(
    tmp_path: Path, change: dict[str, object], said: str
):
    file = tmp_path / "documents.jsonl"
    file.write_text(json.dumps(ROW) + "\n\n" + json.dumps(ROW | {"id": "two"} | change) + "\n")
    with pytest.raises(ConfigError, match=f"line 3.*{said}"):
        read_documents(file)


def test_missing_cut_off_and_repeated_files_are_told_apart(tmp_path: Path):
    with pytest.raises(DatasetMissingError, match="check the path"):
        read_documents(tmp_path / "none.jsonl")
    file = tmp_path / "documents.jsonl"
    file.write_text(json.dumps(ROW)[:-9])
    with pytest.raises(DatasetUnreadableError, match=r"line 1 is no JSON.*fetch it again"):
        read_documents(file)
    file.write_text(f"{json.dumps(ROW)}\n{json.dumps(ROW)}\n")
    with pytest.raises(ConfigError, match="line 2: the id 'one' repeats"):
        read_documents(file)
    file.write_text("")
    assert read_documents(file) == ()
