"""Rules about the network: what is fetched, what is sent, who is let in."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.agents.security.shell.follow import Follower
from models.agents.security.shell.options import parsed
from models.agents.security.shell.paths import is_secret
from models.agents.security.shell.values import GAP, SOMETHING, Text
from models.agents.security.shell.vocabulary import names, valued

_URL_CODE = re.compile(r"^(git\+)?https?://|^git@")


def check(follower: Follower, name: str, rest: list[Text], stdin: Text) -> None:
    """Note what a program fetches and sends."""
    if name in names("fetchers"):
        _fetch(follower, name, rest, stdin)
    elif name in names("connectors"):
        _pipe(follower, name, rest, stdin)
    elif name in names("copiers"):
        _copy(follower, name, rest)
    elif name in names("installers"):
        _install(follower, name, rest)
    elif name == ">" and any(re.match(r"/dev/(tcp|udp)/", word.text) for word in rest):
        follower.findings.add(
            "high", "connection", "connects a shell or a file to another machine", follower.where
        )


def fetched(name: str, rest: Sequence[Text]) -> Text | None:
    """Return what a downloader writes to its standard output; None: nothing."""
    given = parsed(rest, valued("curl" if name == "curl" else "wget"))
    if name == "wget":
        targets = given.of("O", "output-document")
        to_stdout = any(t.text in ("-", "/dev/stdout") for t in targets)
        return SOMETHING.marked(["network"]) if to_stdout else None
    if name in ("curl", "curlie") and (
        given.has("O", "remote-name")
        or any(t.text not in ("-", "/dev/stdout") for t in given.of("o", "output"))
    ):
        return None
    return SOMETHING.marked(["network"])


def _fetch(follower: Follower, name: str, rest: list[Text], stdin: Text) -> None:
    given = parsed(rest, valued("curl" if name == "curl" else "wget"))
    follower.findings.add("medium", "network", f"{name} uses the network", follower.where)
    for sent in given.of(*valued("sending")):
        file = sent.text.split("=", 1)[-1].lstrip("@<")
        is_file = "@" in sent.text or name == "wget" or given.has("T", "upload-file")
        content = stdin if file == "-" else sent
        if "secret" in content.origins or (is_file and is_secret(file)):
            _leaks(follower)
    if any("secret" in word.origins for word in rest):
        _leaks(follower)
    content = SOMETHING.marked(["network"])
    urls = [w.text for w in [*given.operands, *given.of("url")]]
    names = [url.split("?")[0].rstrip("/").rsplit("/", 1)[-1] or "index.html" for url in urls]
    if name == "wget" or name in ("aria2c", "axel"):
        targets = [t.text for t in given.of("O", "output-document", "o" if name != "wget" else "O")]
        folders = [t.text for t in given.of("P", "directory-prefix", "d")]
        files = targets or [f"{folder}/{n}" for folder in folders for n in names] or names
    else:
        folders = [t.text for t in given.of("output-dir")]
        files = [t.text for t in given.of("o", "output")]
        if given.has("O", "remote-name"):
            files += [f"{folder}/{n}" for folder in folders for n in names] or names
    for file in files:
        if file not in ("-", "/dev/stdout"):
            follower.call([Text(">"), Text(file)], content)


def _pipe(follower: Follower, name: str, rest: list[Text], stdin: Text) -> None:
    texts = [word.text for word in rest]
    follower.findings.add("medium", "network", f"{name} uses the network", follower.where)
    if "secret" in stdin.origins:
        _leaks(follower)
    runs = any(re.fullmatch(r"-\w*[ec]\w*", t) for t in texts) and name != "socat"
    if (runs and name != "telnet") or any(
        re.match(r"(exec|system):", text, re.IGNORECASE) for text in texts
    ):
        follower.findings.add(
            "high", "connection", "gives another machine a shell here", follower.where
        )


def _copy(follower: Follower, name: str, rest: list[Text]) -> None:
    operands = parsed(rest, "eiFPoclS").operands
    is_remote = [bool(re.match(r"^[\w.@-]+:|^\w+://", word.text)) for word in operands]
    if any(is_remote):
        follower.findings.add("medium", "network", f"{name} uses the network", follower.where)
        if is_remote[-1] and any(
            is_secret(word.text) or "secret" in word.origins for word in operands[:-1]
        ):
            _leaks(follower)


def _install(follower: Follower, name: str, rest: list[Text]) -> None:
    words = [word.text for word in rest]
    verbs = {"install", "add", "i", "get", "run", "exec", "ci", "sync", "upgrade", "update"}
    if verbs & set(words) or name in ("npx", "pipx"):
        foreign = [t for t in words if _URL_CODE.match(t) or t.startswith(("--index-url=http:",))]
        follower.findings.add(
            "medium",
            "install",
            f"{name} installs or runs others' code" + (f" from {foreign[0]}" if foreign else ""),
            follower.where,
        )


def _leaks(follower: Follower) -> None:
    follower.findings.add(
        "high",
        "secret-sent",
        "sends credentials to another machine",
        follower.where.replace(GAP, "…"),
    )
