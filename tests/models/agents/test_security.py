"""Approvals, analyzers and secrets: behaviours 26 to 29, 31, 33 and 34 as far as the core goes."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.agents import (
    AlwaysConfirm,
    ConfirmAlarms,
    ConfirmRisky,
    Conversation,
    Delta,
    NeverConfirm,
    Risk,
    Secrets,
    SqliteStore,
    tool,
)
from models.agents.command.approvals import ApprovalRule
from models.agents.errors import ApprovalError
from models.agents.events import Begun, Intent, Note, Result
from models.agents.hooks import Hook
from models.agents.security.approvals import digest
from models.agents.security.policy import policy_of
from models.agents.spec import PolicySpec
from models.agents.store.jsonl import export
from models.agents.tools import ToolContext, no_locks
from models.agents.tools.texts import numbered
from models.errors import ConfigError
from models.llm import ToolCall, Turn
from tests.models.agents.played import bodies, calls, finishes, ping

Talk = Callable[..., Conversation]


async def _send(conversation: Conversation, text: str = "go") -> Any:
    return await conversation.send(text)


@pytest.fixture
def acted() -> list[str]:
    return []


@pytest.fixture
def act(acted: list[str]) -> Any:
    @tool(locks=no_locks)
    async def act(what: str) -> str:
        """Act."""
        acted.append(what)
        return f"did {what}"

    return act


def test_behaviour_26_nothing_runs_before_it_is_approved_also_after_a_restart(
    talk: Talk, tmp_path: Path, act: Any, acted: list[str]
):
    store = SqliteStore(tmp_path / "talks")
    fields = {"store": store, "id": "t", "policy": AlwaysConfirm()}
    first = talk([calls(("act", {"what": "x"}), ("act", {"what": "y"}))], act, **fields)
    assert asyncio.run(_send(first)).phase == "waiting"
    first.store.close()
    again = talk([finishes("both")], act, **fields)
    assert again.state.phase == "waiting"

    async def work() -> Any:
        assert (await again.run()).phase == "waiting"
        assert acted == []
        one, other = again.open_calls()
        await again.approve(one.call_id, digest=one.digest, by="me")
        assert (await again.run()).phase == "waiting"
        assert acted == ["x"]
        await again.approve(other.call_id)
        return await again.run()

    assert asyncio.run(work()).text == "both"
    assert acted == ["x", "y"]
    assert len(bodies(again, Begun)) == 2


def test_behaviour_27_a_rejected_call_does_not_run_and_the_model_reads_why(
    talk: Talk, act: Any, acted: list[str]
):
    conversation = talk(
        [calls(("act", {"what": "x"})), finishes("fine")], act, policy=AlwaysConfirm()
    )

    async def work() -> Any:
        await conversation.send("go")
        await conversation.reject(why="not on a Friday")
        return await conversation.run()

    assert asyncio.run(work()).text == "fine"
    assert acted == []
    assert conversation.script.requests[1].messages[-1].text == "rejected: not on a Friday"
    assert bodies(conversation, Result)[0].outcome == "rejected"


def test_behaviour_28_finish_and_think_never_ask(talk: Talk):
    conversation = talk(
        [calls(("think", {"thought": "hm"})), finishes("x")], policy=AlwaysConfirm()
    )
    assert asyncio.run(_send(conversation)).text == "x"


class Rated:
    """An analyzer that knows one word."""

    def __init__(self, level: Any) -> None:
        self.level = level

    def rate(self, call: ToolCall, history: Any) -> Risk:
        if call.name == "finish":
            return Risk("low")
        return Risk(self.level, ("because",), {"saw": len(history)})


@pytest.mark.parametrize(
    ("level", "threshold", "unknown", "waits"),
    [
        ("low", "medium", True, False),
        ("medium", "medium", True, True),
        ("high", "medium", True, True),
        ("medium", "high", True, False),
        ("unknown", "low", False, False),
        ("unknown", "high", True, True),
    ],
)
def test_behaviour_29_risky_calls_ask_exactly_from_the_threshold_on(
    talk: Talk, act: Any, level: Any, threshold: Any, unknown: bool, waits: bool
):
    conversation = talk(
        [calls(("act", {"what": "x"})), finishes()],
        act,
        policy=ConfirmRisky(threshold, unknown),
        analyzer=Rated(level),
    )
    outcome = asyncio.run(_send(conversation))
    assert outcome.phase == ("waiting" if waits else "finished")
    intent = bodies(conversation, Intent)[0]
    assert (intent.risk, intent.reasons, intent.evidence) == (level, ("because",), {"saw": 2})


def test_alarms_wait_and_what_nobody_has_an_opinion_of_runs():
    policy = ConfirmAlarms("medium")
    levels = {"low": False, "medium": True, "high": True, "unknown": True}
    assert {level: policy.asks(ping, Risk(level)) for level in levels} == levels
    assert not ConfirmAlarms(unknown=False).asks(ping, Risk("unknown"))
    assert not policy.asks(ping.with_(read_only=False, destructive=True), None)
    assert not policy.asks(ping.with_(name="finish"), Risk("high"))
    assert PolicySpec(kind="alarms", threshold="medium").build() == policy


def test_without_an_analyzer_risk_follows_what_a_tool_declares():
    policy = ConfirmRisky()
    assert not policy.asks(ping, None)
    assert policy.asks(ping.with_(read_only=False, destructive=True), None)
    assert policy.asks(ping.with_(read_only=False), None)
    assert not ConfirmRisky(unknown=False).asks(ping.with_(read_only=False), None)


class Fails:
    async def rate(self, call: ToolCall, history: Any) -> Risk:
        raise RuntimeError("no rules")


class Hangs:
    async def rate(self, call: ToolCall, history: Any) -> Risk:
        await asyncio.sleep(60)
        return Risk("low")


class Lies:
    def rate(self, call: ToolCall, history: Any) -> Any:
        return "fine"


@pytest.mark.parametrize(
    ("analyzer", "told"),
    [
        (Fails(), "the analyzer failed: RuntimeError: no rules"),
        (Hangs(), "the analyzer gave no answer in 0.05 s"),
        (Lies(), "the analyzer answered with a str"),
    ],
)
def test_an_analyzer_that_fails_means_unknown_and_never_allowed(
    talk: Talk, act: Any, acted: list[str], analyzer: Any, told: str
):
    conversation = talk(
        [calls(("act", {"what": "x"}))],
        act,
        policy=ConfirmRisky(),
        analyzer=analyzer,
        analyzer_timeout_s=0.05,
    )
    assert asyncio.run(_send(conversation)).phase == "waiting"
    intent = bodies(conversation, Intent)[0]
    assert (intent.risk, intent.reasons) == ("unknown", (told,))
    assert acted == []


def test_behaviour_31_an_approval_is_bound_to_the_arguments_and_used_once(
    talk: Talk, act: Any, acted: list[str]
):
    same = calls(("act", {"what": "x"}))
    conversation = talk([same, same, finishes()], act, policy=AlwaysConfirm())

    async def work() -> None:
        await conversation.send("go")
        waiting = conversation.open_calls()[0]
        assert waiting.digest == digest(ToolCall("other id", "act", '{ "what":"x"}'))
        with pytest.raises(ApprovalError, match="waits with other arguments"):
            await conversation.approve(digest=digest(ToolCall("", "act", '{"what":"y"}')))
        with pytest.raises(ApprovalError, match="call 'nobody' does not wait"):
            await conversation.approve("nobody")
        await conversation.approve(digest=waiting.digest)
        with pytest.raises(ApprovalError, match="does not wait"):
            await conversation.approve()
        # The same call again is another call: it asks again.
        assert (await conversation.run()).phase == "waiting"
        assert acted == ["x"]
        with pytest.raises(ApprovalError):
            await conversation.reject(waiting.call_id)

    asyncio.run(work())


def test_some_calls_of_an_answer_wait_and_the_others_run(talk: Talk, act: Any, acted: list[str]):
    class ByName:
        def asks(self, called: Any, risk: Any) -> bool:
            return called.name == "act"

        def to_dict(self) -> dict[str, Any]:
            return {"kind": "by name"}

    both = calls(("ping", {"n": 7}), ("act", {"what": "x"}), ("finish", {"message": "early"}))
    conversation = talk([both, finishes("late")], act, policy=ByName())

    async def work() -> Any:
        assert (await conversation.send("go")).phase == "waiting"
        assert [r.text for r in bodies(conversation, Result)] == ["pong 7", "early"]
        await conversation.approve()
        return await conversation.run()

    assert asyncio.run(work()).text == "late"
    assert acted == ["x"]


def test_policies_come_back_from_their_description_and_strangers_ask_always():
    for policy in (
        NeverConfirm(),
        AlwaysConfirm(),
        ConfirmAlarms("low"),
        ConfirmRisky("medium", False),
    ):
        assert policy_of(policy.to_dict()) == policy
    assert policy_of({"kind": "made up"}) == AlwaysConfirm()


def test_a_policy_that_was_changed_holds_also_after_a_restart(talk: Talk, act: Any, tmp_path: Path):
    store = SqliteStore(tmp_path / "talks")
    script = [calls(("act", {"what": "x"})), finishes()]
    conversation = talk(["hello"], act, store=store, id="t")

    async def change() -> None:
        await conversation.send("hi")
        await conversation.set_policy(AlwaysConfirm())

    asyncio.run(change())
    assert bodies(conversation, Note)[0] == Note("policy", {"kind": "always"})
    conversation.store.close()
    again = talk(script, act, store=store, id="t")
    assert again.policy == AlwaysConfirm()
    assert asyncio.run(_send(again)).phase == "waiting"


CANARY = 'c4n"ary\\ü-7731'


def test_behaviour_33_a_secret_is_in_nothing_that_leaves(talk: Talk, tmp_path: Path):
    store = SqliteStore(tmp_path / "talks")

    @tool(locks=no_locks)
    async def leaky(command: str, ctx: ToolContext) -> Any:
        """Print the environment."""
        token = ctx.secrets.environment(command)["TOKEN"]
        ctx.emit(token[:5])
        ctx.emit(token[5:] + "!")
        return {"out": f"TOKEN={token}", token: [token], "quoted": json.dumps({"a": token})}

    said = Turn(
        f"It is {CANARY}.",
        tool_calls=(ToolCall("", "leaky", json.dumps({"command": f"echo $TOKEN {CANARY}"})),),
        chunk_chars=3,
    )
    conversation = talk(
        [said, finishes(f"found {CANARY}"), f"again {CANARY}"],
        leaky,
        store=store,
        secrets={"TOKEN": CANARY},
    )
    shown: list[str] = []

    async def work() -> None:
        async for item in conversation.send(f"use {CANARY}", deltas=True):
            if isinstance(item, Delta):
                shown.append(item.text)
        await conversation.set_title(f"about {CANARY}")
        assert await conversation.ask("what?") != ""

    conversation.script._otherwise = "nothing"
    asyncio.run(work())
    export(conversation.store, tmp_path / "export.jsonl")
    outlets = [
        repr(conversation.events()),
        repr(conversation.view()),
        repr(conversation.outcome),
        "".join(shown),
        repr([request.messages for request in conversation.script.requests]),
        *(file.read_bytes().decode("utf-8", "replace") for file in tmp_path.rglob("*.*")),
    ]
    for spelling in (CANARY, json.dumps(CANARY)[1:-1], "-7731"):
        for place, text in enumerate(outlets):
            assert spelling not in text, place
    assert "It is [secret:TOKEN]." in "".join(shown)
    assert "found [secret:TOKEN]" in outlets[0]


def test_behaviour_34_a_secret_that_is_replaced_within_a_run_is_masked_as_it_was_and_as_it_is(
    talk: Talk, tmp_path: Path
):
    old, new = "old-value-1", "new-value-2"
    seen: list[str] = []

    @tool(locks=no_locks)
    async def both(command: str, ctx: ToolContext) -> str:
        """Tell what the secret is before and after somebody replaces it, in one call."""
        before = ctx.secrets.environment(command)["KEY"]
        if len(seen) == 0:
            # By a person at another place, while the run is under way and this call as well.
            ctx.emit(f"{before[:6]}")
            await conversation.update_secrets({"KEY": lambda: new})
            ctx.emit(f"{before[6:]} {new}")
        seen.extend((before, ctx.secrets.environment(command)["KEY"]))
        return f"{seen[-2]} became {seen[-1]}"

    told = Turn(
        f"It was {old} and is {new}.",
        tool_calls=(ToolCall.of("", "both", {"command": f"x $KEY {old} {new}"}),),
        chunk_chars=3,
    )
    conversation = talk(
        [told, told, finishes(f"{old}, {new}")],
        both,
        store=SqliteStore(tmp_path / "talks"),
        secrets={"KEY": old},
    )
    shown: list[str] = []
    before_rotation: list[str] = []

    async def work() -> None:
        async for item in conversation.send(f"use {old}", deltas=True):
            if isinstance(item, Delta):
                (shown if seen else before_rotation).append(item.text)

    asyncio.run(work())
    # One run, in which tools got the old value, then the new one.
    assert conversation.outcome.phase == "finished"
    assert len([event for event in conversation.events() if event.kind == "user"]) == 1
    assert seen == [old, new, new, new]
    results = [body.text for body in bodies(conversation, Result) if body.name == "both"]
    assert results == ["[secret:KEY] became [secret:KEY]"] * 2
    assert bodies(conversation, Note)[0].data == {"names": ["KEY"]}
    assert "It was [secret:KEY] and is [secret:KEY]." in "".join(shown)
    export(conversation.store, tmp_path / "export.jsonl")
    outlets = [
        repr(conversation.view()),
        repr(conversation.outcome),
        # Also the value of which the first half was shown before, and the second after.
        "".join(before_rotation + shown),
        repr([request.messages for request in conversation.script.requests]),
        *(file.read_bytes().decode("utf-8", "replace") for file in tmp_path.rglob("*.*")),
    ]
    assert all(old not in text for text in outlets)
    # Before it was one, the new value was a word like others.
    since = [event for event in conversation.events() if event.seq > _of_note(conversation)]
    assert new not in repr(since) + "".join(shown) + repr(conversation.outcome)


def _of_note(conversation: Conversation) -> int:
    return next(event.seq for event in conversation.events() if event.kind == "note")


def test_behaviour_32_a_secret_goes_only_where_the_command_names_it():
    secrets = Secrets({"TOKEN": "value-1", "OTHER_TOKEN": "value-2"})
    assert secrets.environment("curl -H $TOKEN") == {"TOKEN": "value-1"}
    assert secrets.environment("echo ${OTHER_TOKEN}") == {"OTHER_TOKEN": "value-2"}
    assert secrets.environment("echo TOKENS") == {}
    assert repr(secrets) == "Secrets(OTHER_TOKEN, TOKEN)"


@pytest.mark.parametrize(
    ("values", "told"),
    [({"two words": "long-enough"}, "no name of a variable"), ({"A": "short"}, "fewer than 6"),
     ({"A": "arguments"}, "a word that logs are made of")],
)  # fmt: skip
def test_a_secret_that_cannot_be_kept_is_refused(values: Mapping[str, str], told: str):
    with pytest.raises(ConfigError, match=told):
        Secrets(values)


@given(
    st.lists(st.sampled_from(["s3cret", "s3cre", "t", "s", "-xyz-", "s3cret-long", " "])),
    st.lists(st.integers(1, 7)),
)
def test_a_split_secret_never_shows_and_nothing_else_is_lost(parts: list[str], sizes: list[int]):
    secrets = Secrets({"A": "s3cret", "B": "s3cret-long"})
    text, mask, shown = "".join(parts), secrets.stream(), ""
    rest = text
    for size in [*sizes, len(text)]:
        shown += mask.feed(rest[:size])
        rest = rest[size:]
    shown += mask.feed(rest) + mask.end()
    assert "s3cret" not in shown
    assert shown.replace("[secret:B]", "s3cret-long").replace("[secret:A]", "s3cret") == text


@pytest.mark.parametrize("size", [2, 12, 25])
def test_a_secret_that_begins_another_one_waits_for_the_rest_of_it(size: int):
    mask = Secrets({"A": "abcdefgh1234", "B": "abcdefgh1234SUFFIXOFB99"}).stream()
    text = "<abcdefgh1234SUFFIXOFB99> <abcdefgh1234>"
    shown = "".join(mask.feed(text[at : at + size]) for at in range(0, len(text), size))
    assert shown + mask.end() == "<[secret:B]> <[secret:A]>"


@given(st.integers(0, 36), st.integers(0, 36))
def test_of_a_long_secret_no_half_is_ever_shown(start: int, end: int):
    token = "tk-0123456789abcdefghijklmnopqrstuvw"
    secrets = Secrets({"TOKEN": token})
    # What a cut leaves: the end of a secret, or its beginning.
    for piece in (token[start:], token[:end]):
        shown = secrets.mask(f"a {piece} b")
        assert shown == ("a [secret:TOKEN] b" if len(piece) >= 18 else f"a {piece} b")


def test_secrets_that_lap_over_each_other_leave_no_rest():
    secrets = Secrets({"A": "12345678abc", "B": "abcdefghijkl"})
    assert secrets.mask("x 12345678abcdefghijkl y") == "x [secret:B] y"
    assert secrets.mask("12345678abc abcdefghijkl") == "[secret:A] [secret:B]"


def test_the_lines_of_a_key_are_struck_out_wherever_they_stand():
    lines = ["MIIEowIBAAKCAQEA7xk2n0v1", "q8Zr5sT9uVwXyZ0123456789", "abcd"]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])
    secrets = Secrets({"KEY": key})
    assert secrets.mask(f"<{key}>") == "<[secret:KEY]>"
    for text in (key.replace("\n", "\r\n"), numbered(key), json.dumps({"key": key})):
        shown = secrets.mask(text)
        assert lines[0] not in shown
        assert lines[1] not in shown
    # What frames this key frames others too.
    other = "-----BEGIN PRIVATE KEY-----"
    assert secrets.mask(other) == other


def test_a_secret_of_digits_is_masked_as_a_number_too():
    secrets = Secrets({"PIN": "12345678"})
    assert secrets.gate(b'{"data":{"n":12345678,"m":1}}') == b'{"data":{"n":"[secret:PIN]","m":1}}'
    clean = b'{"data":1}'
    assert secrets.gate(clean) is clean


def _call(arguments: str) -> ToolCall:
    return ToolCall("c", "terminal", arguments)


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ('{"command":"rm -rf keep"}', True),
        ('{"command":"rm\\u0020-rf keep"}', True),
        ('{"command":"\\u0072m -\\u0072f keep"}', True),
        ('{"command":"ls","more":{"a":["rm -rf x"]}}', True),
        ('{"rm -rf x":1}', True),
        ('{"command":"rm -r keep"}', False),
    ],
)
def test_a_rule_sees_what_will_run_however_it_is_spelled(arguments: str, fits: bool):
    intent = Intent("c", "terminal", _call(arguments).plain().arguments)
    assert ApprovalRule(tool="terminal", match="rm -rf").fits(intent) is fits
    begins = ApprovalRule(match="^rm -rf", do="reject")
    assert begins.fits(Intent("c", "terminal", arguments)) is fits


def test_a_rule_that_approves_looks_at_the_whole_arguments_with_their_names():
    rule = ApprovalRule(match=r'^\{"path":"src/', do="approve")
    assert rule.fits(Intent("c", "create", '{"text": "x", "path": "src/a"}'))
    assert not rule.fits(Intent("c", "create", r'{"path":"/etc/x","text":"{\"path\":\"src/"}'))
    assert not ApprovalRule(match="^src/", do="approve").fits(
        Intent("c", "create", '{"path":"/etc/x","text":"src/"}')
    )


def test_equal_arguments_have_one_spelling_and_one_digest():
    spelled = _call('{"b": 1, "a": "\\u00e9\\u0041\\n\\u202e\\ud83d\\ude00\\ud800"}')
    plain = spelled.plain()
    assert plain.arguments == r'{"a":"éA\n\u202e😀\ud800","b":1}'
    assert plain.plain() == plain
    assert plain.parsed() == spelled.parsed()
    assert digest(plain) == digest(spelled)


def test_hooks_analyzers_and_the_log_see_the_parsed_arguments_and_no_name_twice(
    talk: Talk, act: Any
):
    seen: list[str] = []

    class Looks:
        def rate(self, call: ToolCall, history: Any) -> Risk:
            seen.append(call.arguments)
            return Risk("low")

    def look(facts: Any) -> None:
        seen.append(facts["arguments"])

    twice = '{"what":"tests","what":"evil"}'
    asked = [ToolCall("", "act", r'{"what":"\u0072m"}'), ToolCall("", "act", twice), "done"]
    conversation = talk(asked, act, analyzer=Looks(), hooks=(Hook("PreToolUse", look),))
    asyncio.run(_send(conversation))
    assert seen == ['{"what":"rm"}'] * 2
    assert [intent.arguments for intent in bodies(conversation, Intent)] == [seen[0], twice]
    ran, refused = bodies(conversation, Result)
    assert (ran.text, refused.outcome) == ("did rm", "error")
    assert "'what' is named twice" in refused.text


def test_what_a_secret_was_struck_out_of_does_not_run_after_an_approval(
    talk: Talk, act: Any, acted: list[str]
):
    script = [calls(("act", {"what": "use tok_A1B2C3"})), "ok"]
    conversation = talk(script, act, policy=AlwaysConfirm(), secrets={"TOK": "tok_A1B2C3"})

    async def work() -> None:
        await conversation.send("go")
        await conversation.approve()
        await conversation.run()

    asyncio.run(work())
    (result,) = bodies(conversation, Result)
    assert result.outcome == "error"
    assert result.text.startswith("Nothing ran: the arguments in the log are not those")
    assert acted == []
