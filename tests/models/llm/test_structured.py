import pytest
from pydantic import BaseModel, field_validator

from models.llm import (
    Capabilities,
    HttpModel,
    Options,
    ScriptedModel,
    generate_object,
    generate_value,
)
from models.llm import errors as e
from models.llm.blocking import run
from models.llm.retry import NO_RETRY
from models.llm.schema import schema_problems
from models.llm.wire import Dialect

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["benign", "executed"]}, "score": {"type": "number"}},
    "required": ["verdict"],
    "additionalProperties": False,
}
TOLD = Capabilities(schema=False)


def test_a_model_that_can_be_constrained_gets_the_schema_and_is_still_checked(server):
    server.play(server.says('{"verdict": "maybe"}'), server.says('{"verdict": "benign"}'))
    model = HttpModel(server.url, "m", retry=NO_RETRY)
    found = run(generate_value(model, "judge", SCHEMA))
    assert found.value == {"verdict": "benign"}
    assert found.repairs == 1
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert len(server.requests[0]["messages"]) == 1
    assert "'maybe' is not one of" in server.requests[1]["messages"][-1]["content"]


def test_a_model_that_cannot_is_told_the_schema(server):
    server.play(server.says('Of course:\n```json\n{"verdict": "benign",}\n```'))
    model = HttpModel(server.url, "m", retry=NO_RETRY, dialect=Dialect("none"))
    assert run(generate_value(model, "judge", SCHEMA)).value == {"verdict": "benign"}
    assert "response_format" not in server.requests[0]
    assert '"enum": ["benign", "executed"]' in server.requests[0]["messages"][0]["content"]


def test_replies_that_never_fit_end_in_a_typed_error_with_the_validators_words():
    model = ScriptedModel(["prose", "{}", '{"verdict": 1}', "never asked"], capabilities=TOLD)
    with pytest.raises(e.SchemaError, match="3 tries") as caught:
        run(generate_value(model, "judge", SCHEMA, repairs=2))
    assert len(model.requests) == 3
    assert caught.value.text == '{"verdict": 1}'
    assert "holds no JSON" in caught.value.problems[0]
    assert "'verdict' is a required property" in caught.value.problems[1]


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"$ref": "http://127.0.0.1:1/x.json"}])
def test_a_schema_that_is_none_or_lies_elsewhere_is_refused_before_any_call(schema):
    model = ScriptedModel([])
    with pytest.raises(e.BadRequestError):
        run(generate_value(model, "x", schema))
    assert model.requests == []


def test_problems_name_their_place():
    problems = schema_problems({"verdict": "benign", "score": "high"}, SCHEMA)
    assert problems == ("at $.score: 'high' is not of type 'number'",)


class Plan(BaseModel):
    mesh: list[int]

    @field_validator("mesh")
    @classmethod
    def _full(cls, mesh: list[int]) -> list[int]:
        if sum(mesh) != 4:
            raise ValueError("the mesh must add up to 4 chips")
        return mesh


def test_objects_come_validated_and_their_own_rules_are_repaired_too():
    model = ScriptedModel(['{"mesh": [1]}', '{"mesh": "x"}', '{"mesh": [2, 2]}'])
    found = run(generate_object(model, "plan", Plan, Options(temperature=0)))
    assert found.value == Plan(mesh=[2, 2])
    assert "add up to 4 chips" in model.requests[1].messages[-1].text
    assert len(found.replies) == 3


def test_objects_that_never_validate_end_in_a_typed_error_within_the_tries_allowed():
    model = ScriptedModel([], otherwise='{"mesh": [1]}')
    with pytest.raises(e.SchemaError, match="add up to 4"):
        run(generate_object(model, "plan", Plan, repairs=1))
    assert len(model.requests) == 2
