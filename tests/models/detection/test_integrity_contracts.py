"""Results against what they were before, and against each other."""

import json
import random
from pathlib import Path

import pytest

from models.detection.evaluation.labelled import read_labelled
from models.detection.integrity.conflicts import conflicts
from models.detection.integrity.contracts import Contracts
from models.detection.integrity.manifests import Declared
from models.detection.integrity.records import fields_of, number_of, parsed
from models.detection.secrets.generate import drawn
from models.detection.secrets.rules import read_rules
from models.errors import DataError
from models.settings import ROOT
from tests.models.detection.told import call, told

KEY = drawn(next(r for r in read_rules() if r.id == "npm_token"), random.Random(7))


def weather(**more):
    return call("get_weather", json.dumps({"city": "Ulm", "degrees": 12.5, **more}), city="Ulm")


def learned(results: int = 8) -> Contracts:
    contracts = Contracts()
    rows = [told("Weather?", weather(degrees=n)) for n in range(5, 5 + results)]
    assert contracts.learn(rows) == results
    return contracts


def rules(signals):
    return {(one.evidence.rule, one.outcome) for one in signals}


def test_a_new_sensitive_field_is_told_and_a_new_harmless_one_is_not():
    contracts = learned()
    assert contracts.examine(told("Weather?", weather())) == ()
    assert contracts.examine(told("Weather?", weather(wind=3))) == ()
    found = contracts.examine(told("Weather?", weather(home_address="Main Street 3")))
    assert rules(found) == {("undeclared-field", "partial")}
    found = contracts.examine(told("Weather?", weather(api_key=KEY)))
    assert rules(found) == {("undeclared-field", "policy")}
    assert KEY not in repr(found)
    # Who asks for it expects it; a few results are no contract.
    assert contracts.examine(told("What is my address?", weather(home_address="x"))) == ()
    assert learned(3).examine(told("Weather?", weather(home_address="x"))) == ()


def test_a_declared_output_schema_is_a_contract_without_learning():
    schema = {"properties": {"city": {}, "degrees": {}}}
    known = (Declared("", "get_weather", "Weather.", {}, output_schema=schema),)
    session = told("Weather?", weather(session_token="a1b2c3"))
    assert rules(Contracts().examine(session, known)) == {("undeclared-field", "partial")}
    wide = {"properties": {"data": {"properties": {"session_token": {}}}}}
    known = (Declared("", "get_weather", "Weather.", {}, output_schema=wide),)
    assert Contracts().examine(session, known) == ()


def test_a_number_far_from_all_before_is_told_once_enough_were_seen():
    contracts = learned(25)
    assert contracts.examine(told("Weather?", weather(degrees=60))) == ()
    for strange in (9_000, -20):
        found = contracts.examine(told("Weather?", weather(degrees=strange)))
        assert rules(found) == {("number-out-of-range", "attempted")}
    assert learned(10).examine(told("Weather?", weather(degrees=9_000))) == ()


def test_contracts_are_kept_in_a_file(tmp_path: Path):
    contracts, file = learned(), tmp_path / "contracts.json"
    contracts.save(file)
    session = told("Weather?", weather(home_address="x"))
    assert Contracts.load(file).examine(session) == contracts.examine(session)
    file.write_text("{}")
    with pytest.raises(DataError, match="learn them anew"):
        Contracts.load(file)


def test_two_sources_that_disagree_about_one_thing_are_told():
    shop = call("get_price", '{"sku": "AB-123", "price": "$1,200.00"}', server="shop", sku="AB-123")
    same = call("lookup", '[{"sku": "ab-123", "price": 1200}]', server="market", q="AB-123")
    other = call("lookup", '[{"sku": "AB-123", "price": 950}]', server="market", q="AB-123")
    assert conflicts(told("Price?", shop, same)) == ()
    (signal,) = conflicts(told("Price?", shop, other))
    assert (signal.evidence.rule, signal.technique) == ("sources-disagree", "ADR.T0013")
    assert signal.evidence.events == ("r1", "r2")
    # After a change, and about several things of one name, numbers may differ.
    change = call("update_price", "ok", server="shop", sku="AB-123", price=950)
    assert conflicts(told("Price?", shop, change, other)) == ()
    several = call("lookup", '[{"sku": "AB-123", "price": 1}, {"sku": "AB-123", "price": 2}]',
                   server="market")  # fmt: skip
    assert conflicts(told("Price?", shop, several)) == ()
    moving = call("lookup", '[{"sku": "AB-123", "view_count": 9}]', server="market")
    counted = call("get_price", '{"sku": "AB-123", "view_count": 3}', server="shop")
    assert conflicts(told("Price?", counted, moving)) == ()


def test_success_that_another_result_denies_is_told():
    done = call("run_backup", '{"id": "job-77", "status": "completed"}')
    lost = call("get_job", '{"id": "job-77", "status": "failed"}')
    found = conflicts(told("Back it up.", done, lost))
    assert rules(found) == {("success-and-failure", "attempted")}
    fine = call("get_job", '{"id": "job-77", "status": "done"}')
    assert conflicts(told("Back it up.", done, fine)) == ()
    odd = call("run_backup", '{"success": true, "error": "disk full"}')
    assert rules(conflicts(told("Back it up.", odd))) == {("success-with-error", "attempted")}
    plain = call("run_backup", '{"success": true, "error": null}')
    assert conflicts(told("Back it up.", plain)) == ()


def test_results_are_read_as_records_in_each_format():
    for text in ('{"a": {"b": 1}}', "{'a': {'b': 1}}", "a:\n  b: 1"):
        assert [(one.path, one.value) for one in fields_of(parsed(text))] == [("a.b", 1)]
    for text in ("just words", "", "a: &x [*x]", "{" * 500, "12"):
        assert parsed(text) is None
    assert [number_of(v) for v in ("€ 1,250.50", "12 EUR", 3, True, "12 km", "")] == [
        1250.5, 12.0, 3.0, None, None, None,
    ]  # fmt: skip


def test_contracts_of_half_of_the_benign_sessions_say_nothing_on_the_other_half():
    file = ROOT / "datasets" / "detection" / "agentdojo_generated" / "train.jsonl.gz"
    rows = [s for s, labels in read_labelled(file) if labels.outcome in ("clean", "resisted")]
    contracts = Contracts()
    assert contracts.learn(rows[::2]) > 1_000
    found = [one for s in rows[1::2] for one in (*contracts.examine(s), *conflicts(s))]
    assert found == []
