import re
from pathlib import Path

import pytest

from models.llm.resolve import FORMS
from models.settings import ROOT, Settings

PAGE = (ROOT / "docs" / "llm.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/llm.md", "exec"), {"__name__": "docs_llm"})
    assert (tmp_path / "talk.jsonl").exists()


def test_the_page_names_every_form_of_address_and_every_setting():
    for form in FORMS:
        assert form.split(":")[0] in PAGE
    for name in Settings.model_fields:
        if name.startswith("llm_"):
            assert f"LOOM_{name.upper()}" in PAGE
