"""One call of a real model, the embedded SmolLM2-135M: proves the path and nothing else.

A model of this size writes no kernel; what it says is no figure of this room.
"""

import pytest

from models.kernels import find_profile, lint_text
from models.kernels.operators import find_operator
from models.kernels.propose import LanguageModelConfig, LanguageModelProposer, ModelAsker
from models.llm import Options, language_model


@pytest.mark.slow
def test_a_real_model_is_asked_and_its_answer_becomes_a_candidate_that_lint_judges():
    model = language_model("local:smollm2")
    asker = ModelAsker(model, Options(max_tokens=16, temperature=0.0))
    config = LanguageModelConfig(context_tokens=2_048, answer_tokens=256)
    writer = LanguageModelProposer(asker, config=config, document=lambda spec: spec)
    candidate = writer.propose(find_operator("exp"), find_profile("interpreter"), None)
    assert candidate.proposer == f"llm:{model.name}"
    assert candidate.source
    use = writer.use("exp")
    assert use.calls == use.dialogs == 1
    assert 500 < use.prompt_tokens <= 1_792
    assert 0 < use.completion_tokens <= 16
    assert not lint_text(candidate.source, None, find_profile("interpreter")).passed
    model.blocking.close()
