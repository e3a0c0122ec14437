"""What code does outside of itself: network, files, processes, credentials, evaluated text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from models.detection.integrity.syntax import Module, text_of
from models.detection.integrity.taint import KEYRINGS, READING, Values

Kind: TypeAlias = Literal[
    "fetch", "send", "read", "write", "delete", "process", "environment", "credentials",
    "evaluate", "import",
]  # fmt: skip
"""send: data leaves in a body or message; fetch: any other use of the network. environment: all
variables at once; a single one is configuration and no effect."""


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """One effect at one place.

    Attributes:
        kind: What it does.
        path, line: Where.
        call: What is called, imports resolved.
        host: Constant host that is talked to, or constant address that gets a copy.
        takes: What goes in: `arguments` of the caller, `environment`, `files`.
        is_answer_used: Something is done with what comes back.
        is_shell: A shell reads the command.
        is_decoded: What is evaluated is decoded first.
    """

    kind: Kind
    path: str
    line: int
    call: str
    host: str = ""
    takes: tuple[str, ...] = ()
    is_answer_used: bool = True
    is_shell: bool = False
    is_decoded: bool = False


_NETWORK = (
    "requests.", "httpx.", "urllib.request.", "urllib3.", "aiohttp.", "socket.", "smtplib.",
    "ftplib.", "http.client.", "websockets.", "websocket.", "paramiko.", "xmlrpc.client.",
    "telnetlib.", "poplib.", "imaplib.", "dns.",
)  # fmt: skip
_SENDS = frozenset(
    (
        "post", "put", "patch", "send", "sendall", "sendto", "sendmail", "send_message",
        "send_json", "storbinary", "storlines",
    )
)  # fmt: skip
_FETCHES = frozenset(
    (
        "get", "head", "options", "delete", "request", "stream", "urlopen", "urlretrieve", "open",
        "connect", "create_connection", "getaddrinfo", "gethostbyname", "resolve", "getresponse",
        "ws_connect", "exec_command", "retrbinary", "connect_ex",
    )
)  # fmt: skip
_BODIES = frozenset(("data", "json", "files", "content", "body"))
_PROCESS = (
    "subprocess.", "os.system", "os.popen", "os.exec", "os.spawn", "pty.spawn",
    "asyncio.create_subprocess", "commands.getoutput",
)  # fmt: skip
_SHELLS = ("os.system", "os.popen", "asyncio.create_subprocess_shell", "subprocess.getoutput",
           "subprocess.getstatusoutput", "commands.getoutput")  # fmt: skip
_EVALUATE = frozenset(
    ("eval", "exec", "builtins.eval", "builtins.exec", "pickle.loads", "marshal.loads",
     "dill.loads", "cloudpickle.loads", "runpy.run_path", "code.interact")
)  # fmt: skip
_DELETES = frozenset(
    ("os.remove", "os.unlink", "os.rmdir", "os.removedirs", "shutil.rmtree", "shutil.move")
)
_DELETING = frozenset(("unlink", "rmdir"))
_WRITING = frozenset(("write_text", "write_bytes", "touch"))
_DECODES = ("base64.", "binascii.", "zlib.", "bz2.", "lzma.", "codecs.decode", "bytes.fromhex")
CREDENTIAL_PATH = re.compile(
    r"(?:^|[/~\\])\.(?:ssh(?:/|$)|aws/credentials|netrc|npmrc|pypirc|git-credentials|kube/config|"
    r"docker/config\.json|gnupg(?:/|$)|config/gcloud)|\bid_(?:rsa|ed25519|ecdsa|dsa)\b|"
    r"^/etc/(?:shadow|sudoers)|\bLogin Data\b|\blogins\.json\b|\bkey4\.db\b|Keychains?/",
)
_COPIES = frozenset(("bcc", "cc", "bcc_addrs", "cc_addrs", "to_addrs"))
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@lru_cache(maxsize=4_096)
def effects_of(
    module: Module, node: ast.AST, given: frozenset[str], path: str
) -> tuple[Effect, ...]:
    """Return the effects of one function or branch.

    Args:
        module: Its file.
        node: What is looked at, without functions defined within.
        given: Names that hold what a caller gave.
        path: Of the file, as it is told.
    """
    return tuple(_Reader(module, node, given, path).effects())


class _Reader:
    def __init__(self, module: Module, node: ast.AST, given: frozenset[str], path: str) -> None:
        self._module, self._path = module, path
        self._values = Values(module, node, given)
        self._nodes = self._values.nodes
        self._kinds = {**_clients_of(module), **_clients(module, self._nodes)}

    def effects(self) -> Iterator[Effect]:
        for node in self._nodes:
            if isinstance(node, ast.Call):
                yield from self._of_call(node)
            elif self._values.is_environment(node):
                yield self._effect("environment", node, "os.environ")
            for field, address in self._copies(node):
                yield self._effect("send", node, field, host=address)

    def _copies(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """Give constant addresses that get a copy: in a record, a header, a keyword."""
        pairs: list[tuple[object, ast.expr]] = []
        if isinstance(node, ast.Dict):
            pairs = [(k.value if isinstance(k, ast.Constant) else None, v)
                     for k, v in zip(node.keys, node.values, strict=True)]  # fmt: skip
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key = node.targets[0].slice
            pairs = [(key.value if isinstance(key, ast.Constant) else None, node.value)]
        elif isinstance(node, ast.Call):
            pairs = [(k.arg, k.value) for k in node.keywords]
            if isinstance(node.func, ast.Attribute) and node.func.attr == "sendmail":
                pairs += [("to_addrs", one) for one in node.args[1:2]]
        for name, value in pairs:
            if isinstance(name, str) and name.casefold() in _COPIES:
                parts = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
                for part in parts:
                    if match := _ADDRESS.search(text_of(part, self._module)):
                        yield name, match[0]

    def _of_call(self, node: ast.Call) -> Iterator[Effect]:
        called = self._module.dotted(node.func, self._kinds)
        last = called.rpartition(".")[2]
        if called in _EVALUATE:
            inner = [a for a in node.args if not isinstance(a, ast.Constant)]
            if inner:
                yield self._effect("evaluate", node, called, is_decoded=self._is_decoded(node))
        elif called in ("__import__", "importlib.import_module"):
            if node.args and not isinstance(node.args[0], ast.Constant):
                yield self._effect("import", node, called)
        elif called.startswith(_PROCESS):
            shell = called in _SHELLS or any(
                k.arg == "shell" and isinstance(k.value, ast.Constant) and k.value.value is True
                for k in node.keywords
            )
            yield self._effect("process", node, called, is_shell=shell)
        elif called.startswith(KEYRINGS):
            yield self._effect("credentials", node, called)
        elif called.startswith(_NETWORK):
            yield from self._network(node, called, last)
        elif called in _DELETES or (last in _DELETING and "." in called):
            yield self._effect("delete", node, called)
        elif last in _WRITING or (called == "open" and self._values.writes(node)):
            yield self._effect("write", node, called)
        elif last in READING or called == "open":
            path = text_of(node, self._module) + self._named_path(node)
            kind: Kind = "credentials" if CREDENTIAL_PATH.search(path) else "read"
            yield self._effect(kind, node, called)

    def _named_path(self, node: ast.Call) -> str:
        """Return the constant texts of a path that was put into a name before."""
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        parts = []
        for one in self._nodes:
            if isinstance(one, ast.Assign | ast.For):
                targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                source = one.value if isinstance(one, ast.Assign) else one.iter
                if names & {t.id for t in targets if isinstance(t, ast.Name)}:
                    parts += [
                        c.value for c in ast.walk(source)
                        if isinstance(c, ast.Constant) and isinstance(c.value, str)
                    ]  # fmt: skip
        constants = [
            str(c.value) for c in ast.walk(node)
            if isinstance(c, ast.Constant) and isinstance(c.value, str)
        ]  # fmt: skip
        return "/".join([*parts, *constants])

    def _network(self, node: ast.Call, called: str, last: str) -> Iterator[Effect]:
        if last not in _SENDS and last not in _FETCHES:
            return  # a client is made, asked for its state or tidied up
        is_send = last in _SENDS or any(k.arg in _BODIES for k in node.keywords)
        host = self._host(node)
        kind: Kind = "send" if is_send else "fetch"
        yield self._effect(kind, node, called, host=host, is_answer_used=self._is_used(node))

    def _host(self, node: ast.Call) -> str:
        for argument in (*node.args, *(k.value for k in node.keywords)):
            text = text_of(argument, self._module)
            if isinstance(argument, ast.Name) and not text:
                text = self._local_text(argument.id)
            if match := re.match(r"\w+://[^\s{}'\"]+", text):
                return urlsplit(match[0]).hostname or ""
        return ""

    def _local_text(self, name: str) -> str:
        values = [
            one.value for one in self._nodes
            if isinstance(one, ast.Assign) and any(ast.unparse(t) == name for t in one.targets)
        ]  # fmt: skip
        return text_of(values[0], self._module) if len(values) == 1 else ""

    def _is_used(self, node: ast.Call) -> bool:
        """Return whether anything is done with what a call returns."""
        up = self._values.parents.get(id(node))
        while isinstance(up, ast.Await):
            up = self._values.parents.get(id(up))
        if isinstance(up, ast.Expr):
            return False
        target: ast.AST | None = None
        if isinstance(up, ast.Assign):
            target = up.targets[0]
        elif isinstance(up, ast.withitem):
            target = up.optional_vars
            if target is None:
                return False
        if isinstance(target, ast.Name):
            name = target.id
            return any(
                isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load)
                for one in self._nodes
            )
        return True

    def _is_decoded(self, node: ast.Call) -> bool:
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        values: list[ast.AST] = [node]
        values += [
            one.value for one in self._nodes
            if isinstance(one, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id in names for t in one.targets)
        ]  # fmt: skip
        return any(
            isinstance(one, ast.Call)
            and self._module.dotted(one.func).startswith(_DECODES)
            and "arguments" not in self._values.sources(one)
            for value in values
            for one in ast.walk(value)
        )

    def _effect(self, kind: Kind, node: ast.AST, call: str, **more: object) -> Effect:
        inputs = (
            [*node.args, *(k.value for k in node.keywords)] if isinstance(node, ast.Call) else ()
        )
        takes = sorted({where for one in inputs for where in self._values.sources(one)})
        line = getattr(node, "lineno", 0)
        return Effect(kind, self._path, line, call, takes=tuple(takes), **more)  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def _clients_of(module: Module) -> dict[str, str]:
    return _clients(module, module.nodes)


def _clients(module: Module, nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return what names and attributes were made by, if that talks to the network."""
    kinds: dict[str, str] = {}
    for node in nodes:
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.withitem):
            pairs = [(node.optional_vars, node.context_expr)]
        for target, value in pairs:
            inner = value.value if isinstance(value, ast.Await) else value
            if isinstance(inner, ast.Call) and isinstance(target, ast.Name | ast.Attribute):
                made = module.dotted(inner.func)
                if made.startswith(_NETWORK):
                    kinds[ast.unparse(target)] = made
        if isinstance(node, ast.arg) and node.annotation is not None:
            made = module.dotted(node.annotation)
            if made.startswith(_NETWORK):
                kinds[node.arg] = made
    return kinds
