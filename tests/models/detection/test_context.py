"""The context providers, and the server that offers them, over a real process."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from models.detection.context import PolicyContext, SourceContext, ThreatContext
from models.detection.context.serve import main
from models.detection.intel import Intel, IntelStore
from models.detection.policies import read_policies
from models.errors import DataError, UnknownNameError
from models.settings import ROOT
from tests.models.detection.hostile_server import HEAD, TRICKS
from tests.models.detection.told import call, told


@pytest.fixture
def server(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "lib").mkdir(parents=True)
    (folder / "server.py").write_text(HEAD + TRICKS["silent-send"])
    (folder / "lib" / "other.py").write_text("x = 1\n")
    (folder / "key.pem").write_text("secret")
    (tmp_path / "outside.py").write_text("outside = 1\n")
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    return folder


def test_source_is_given_with_its_facts_and_nothing_beside_it(server: Path):
    context = SourceContext({"shop": server})
    shown = context.get_source_code("shop")
    assert shown["files"] == ["lib/other.py", "server.py"]
    assert [one["rule"] for one in shown["findings"]] == ["silent-send"]
    text = context.get_source_code("shop", "server.py")
    assert "collector.example.net" in text["text"]
    assert text["next_offset"] is None
    for away in ("../outside.py", "link.py", "key.pem", "/etc/passwd", "lib/../../outside.py"):
        with pytest.raises(DataError, match="has no file"):
            context.get_source_code("shop", away)
    with pytest.raises(UnknownNameError, match="did you mean 'shop'"):
        context.get_source_code("shopp")


def test_long_source_comes_in_pieces_and_credentials_are_struck_through(server: Path):
    import random

    from models.detection.secrets.generate import drawn
    from models.detection.secrets.rules import read_rules

    key = drawn(next(r for r in read_rules() if r.id == "github_token"), random.Random(5))
    (server / "lib" / "other.py").write_text(f"KEY = '{key}'\n" + "y = 2\n" * 10_000)
    context = SourceContext({"shop": server})
    whole, offset = "", 0
    while offset is not None:
        piece = context.get_source_code("shop", "lib/other.py", offset)
        whole, offset = whole + piece["text"], piece["next_offset"]
    assert whole.count("y = 2") == 10_000
    assert key not in whole


def test_threats_come_with_findings_and_are_found_by_words(tmp_path: Path):
    store = IntelStore(tmp_path)
    store.append([Intel("e1", "EAS", "ADR.T0009", "a twin", "a tool of the same name")])
    context = ThreatContext(store)
    assert len(context.get_threat_framework()["techniques"]) == 17
    one = context.get_threat_framework("ADR.T0009")
    assert [t["name"] for t in one["techniques"]] == ["Tool Shadowing"]
    assert [i["text"] for i in one["intel"]] == ["[EAS] a twin: a tool of the same name"]
    asked = context.get_threat_framework(query="code that an interpreter or shell runs")
    assert asked["techniques"][0]["id"] == "ADR.T0004"
    assert context.get_threat_framework(query="zebra")["techniques"] == []
    with pytest.raises(UnknownNameError):
        context.get_threat_framework("ADR.T0018")


def test_policies_are_told_and_held_against_a_session():
    context = PolicyContext(read_policies())
    assert [one["id"] for one in context.get_policies("xmrig")["rules"]] == ["mining"]
    session = told("Why is it slow?", call("bash", command="kubectl delete ns shop"))
    whole = context.assess_policy_violations(session.to_json().decode())
    short = context.assess_policy_violations(
        request="Why is it slow?",
        calls=[{"tool": "bash", "arguments": {"command": "kubectl delete ns shop"}}],
    )
    assert [v["rule"] for v in whole["violations"]] == ["kubernetes-namespace"]
    assert [v["rule"] for v in short["violations"]] == ["kubernetes-namespace"]
    assert whole["digest"] == read_policies().digest
    with pytest.raises(DataError, match="`calls` are objects with a `tool` each"):
        context.assess_policy_violations(calls=[{"name": "x"}])
    with pytest.raises(DataError, match="no session of"):
        context.assess_policy_violations("{}")


def test_a_client_of_another_process_asks_all_four(server: Path, tmp_path: Path):
    IntelStore(tmp_path / "intel").append([Intel("e1", "EAS", "ADR.T0002", "t", "x")])
    words = ["-m", "models.detection.context.serve", "--source", f"shop={server}",
             "--intel", str(tmp_path / "intel")]  # fmt: skip
    parameters = StdioServerParameters(command=sys.executable, args=words, cwd=ROOT)

    async def work() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        async with Client(parameters) as client:
            seen["tools"] = (await client.list_tools()).tools
            for name, given in (
                ("get_source_code", {"server": "shop"}),
                ("get_threat_framework", {"technique": "ADR.T0002"}),
                ("get_policies", {"query": "namespace"}),
                ("assess_policy_violations", {"request": "Why?", "calls": [
                    {"tool": "bash", "arguments": {"command": "kubectl delete ns shop"}}]}),
            ):  # fmt: skip
                answer = await client.call_tool(name, given)
                assert not answer.is_error, answer
                seen[name] = json.loads(answer.content[0].text)
            for key, name, given in (
                ("unknown", "get_source_code", {"server": "nobody"}),
                ("missing", "get_source_code", {}),
                ("wrong", "get_policies", {"query": 3}),
                ("strange", "get_policies", {"quarry": "x"}),
                ("tool", "get_weather", {}),
            ):
                answer = await client.call_tool(name, given)
                assert answer.is_error
                seen[key] = answer.content[0].text
        return seen

    seen = asyncio.run(work())
    assert [one.name for one in seen["tools"]] == [
        "get_source_code", "get_threat_framework", "get_policies", "assess_policy_violations",
    ]  # fmt: skip
    assert all(one.annotations.read_only_hint for one in seen["tools"])
    assert seen["get_source_code"]["findings"][0]["rule"] == "silent-send"
    assert "[EAS] t: x" in [i["text"] for i in seen["get_threat_framework"]["intel"]]
    assert seen["get_policies"]["rules"][0]["id"] == "kubernetes-namespace"
    violations = seen["assess_policy_violations"]["violations"]
    assert [v["rule"] for v in violations] == ["kubernetes-namespace"]
    assert "no server with known source named 'nobody'" in seen["unknown"]
    assert "'server' is missing" in seen["missing"]
    assert "'query' should be of type string" in seen["wrong"]
    assert "there is no argument 'quarry'; it takes: query" in seen["strange"]
    assert "no tool named 'get_weather'" in seen["tool"]


def test_a_source_that_is_not_there_ends_the_server_with_a_word(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert main(["--source", "shop=/nowhere/at/all"]) == 2
    assert "--source takes NAME=DIR" in capsys.readouterr().err
    assert main(["--policies", str(tmp_path / "gone.toml")]) == 2
