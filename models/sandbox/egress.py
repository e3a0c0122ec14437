"""The one way out of a sandbox: a proxy outside it that knows which requests are allowed.

The sandbox has no network. A Unix socket of this proxy is shown inside; what arrives there is
compared with rules of host, port, method and path, and only then sent on. Credentials are put
in out here, so commands use a service without ever holding its key.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import logging
import os
import select
import socket
import socketserver
import ssl
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from models.sandbox.rules import Decision, Rule

log = logging.getLogger("loom.sandbox.egress")

INSIDE = "/run/egress.sock"
"""Where commands find the socket: `sockets={INSIDE: proxy.path}`."""

_TIMEOUT_S = 60.0
_MOST_BODY_BYTES = 100 * 1024**2
_PIECE_BYTES = 65_536
_DECISIONS = 1000
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
               "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
               "host", "content-length"}  # fmt: skip


class EgressProxy:
    """Serves a Unix socket until it is closed; safe between threads.

    Args:
        rules: What may leave; everything else is refused.
        most_at_once: Requests served at a time; others wait.
        resolve: Finds the addresses of a name.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        most_at_once: int = 32,
        resolve: Callable[[str, int], list[str]] | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.decisions: deque[Decision] = deque(maxlen=_DECISIONS)
        self.resolve = resolve or _resolve
        self.slots = threading.BoundedSemaphore(most_at_once)
        # In a folder that only we may enter: on the host nobody else reaches the socket.
        self._folder = tempfile.TemporaryDirectory(prefix="loom-egress-")
        self.path = Path(self._folder.name, "socket")
        self._server = _Server(str(self.path), _Handler)
        self._server.proxy = self
        os.chmod(self.path, 0o666)
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.05,), daemon=True)
        self._thread.start()

    def find(self, method: str, host: str, port: int | None, path: str) -> tuple[Rule | None, str]:
        """Find the rule that allows a request, or say why there is none."""
        about = [rule for rule in self.rules if rule.is_for(host, port)]
        if not about:
            return None, f"no rule for {host}{'' if port is None else f':{port}'}"
        if method == "CONNECT":
            tunnels = [rule for rule in about if rule.allows_tunnel]
            return (tunnels[0], "") if tunnels else (None, f"no tunnels to {host}: use http://")
        fitting = [rule for rule in about if method in rule.methods]
        if not fitting:
            return None, f"method {method} is not allowed for {host}"
        covering = [rule for rule in fitting if rule.covers(path)]
        return (covering[0], "") if covering else (None, f"path {path} of {host} is not allowed")

    def note(self, method: str, target: str, why: str = "") -> None:
        """Keep what was decided; an empty reason: it was allowed."""
        self.decisions.append(Decision(method, target, not why, why))
        log.info("%s %s: %s", method, target, why or "sent on")

    def connect(self, rule: Rule, host: str) -> socket.socket:
        """Open a connection to a server of a rule.

        Raises:
            OSError: It does not answer, or its name stands for a forbidden address.
        """
        found = self.resolve(host, rule.port)
        public = [
            one for one in found if rule.allows_private or ipaddress.ip_address(one).is_global
        ]
        if not public:
            # Names can be made to point inwards, at a cloud's credentials for example.
            raise PermissionError(
                f"{host} stands for {', '.join(found)}, which is no public address"
            )
        return socket.create_connection((public[0], rule.port), timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Stop serving and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def __enter__(self) -> EgressProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    proxy: EgressProxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing here: decisions are logged by the proxy."""

    def address_string(self) -> str:
        """Name the client: Unix sockets have no addresses."""
        return "sandbox"

    def handle_one_request(self) -> None:
        """Serve one request of a connection while fewer than the allowed number are served."""
        with self.server.proxy.slots:
            super().handle_one_request()

    def _refuse(self, code: int, why: str) -> None:
        self.server.proxy.note(self.command, self.path, why)
        body = f"egress refused: {why}\n".encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def _serve(self) -> None:
        try:
            parts = urlsplit(self.path)
            host, port = (parts.hostname or "").lower().rstrip("."), parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        if parts.scheme != "http" or not host:
            self._refuse(400, "ask for http://HOST/PATH through the proxy")
            return
        # The scheme's own port says nothing: the rule knows how the server is reached.
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        rule, why = self.server.proxy.find(self.command, host, None if port == 80 else port, path)
        if rule is None:
            self._refuse(403, why)
            return
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit():
            self._refuse(411, "send a body with a Content-Length")
        elif int(length) > _MOST_BODY_BYTES:
            self._refuse(413, f"a body of {length} bytes is too large")
        else:
            self._send_on(rule, host, path, self.rfile.read(int(length)))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815

    def _send_on(self, rule: Rule, host: str, path: str, body: bytes) -> None:
        secrets = {name: v if isinstance(v, str) else v() for name, v in rule.headers.items()}
        ours = {name.lower() for name in secrets}
        link = http.client.HTTPConnection(host, rule.port, timeout=_TIMEOUT_S)
        with contextlib.closing(link):
            try:
                link.sock = self._opened(rule, host)
                link.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
                link.putheader("Host", host if rule.port in (80, 443) else f"{host}:{rule.port}")
                for name, value in self.headers.items():
                    is_kept = name.lower() not in _HOP_BY_HOP | ours
                    # Packed answers could carry a value past the striking out.
                    if is_kept and not (ours and name.lower() in ("accept-encoding", "range")):
                        link.putheader(name, value)
                for name, value in secrets.items():
                    link.putheader(name, value)
                if body or self.command in ("POST", "PUT", "PATCH"):
                    link.putheader("Content-Length", str(len(body)))
                link.endheaders(body or None)
                answer = link.getresponse()
            except (OSError, http.client.HTTPException) as error:
                code = 403 if isinstance(error, PermissionError) else 502
                self._refuse(code, _struck(str(error).encode(), _values(secrets)).decode())
                return
            self.server.proxy.note(self.command, f"{host}{path}")
            self._give_back(answer, _values(secrets))

    def _opened(self, rule: Rule, host: str) -> socket.socket:
        plain = self.server.proxy.connect(rule, host)
        if rule.scheme == "http":
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)

    def _give_back(self, answer: http.client.HTTPResponse, secrets: Sequence[bytes]) -> None:
        self.send_response(answer.status, _struck(answer.reason.encode(), secrets).decode())
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, _struck(value.encode("latin-1"), secrets).decode("latin-1"))
        # Its end is the end of the connection: lengths of answers come in many forms.
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        overlap = max((len(secret) for secret in secrets), default=1) - 1
        held = b""
        while piece := answer.read1(_PIECE_BYTES):
            held = _struck(held + piece, secrets)
            cut = len(held) - overlap
            if cut > 0:
                self.wfile.write(held[:cut])
                held = held[cut:]
        self.wfile.write(held)

    def do_CONNECT(self) -> None:
        """Open a tunnel, where a rule allows one."""
        host, _, port = self.path.rpartition(":")
        host = host.lower().strip("[]").rstrip(".")
        if not host or not port.isdigit():
            self._refuse(400, "CONNECT wants HOST:PORT")
            return
        rule, why = self.server.proxy.find("CONNECT", host, int(port), "/")
        if rule is None:
            self._refuse(403, why)
            return
        try:
            link = self.server.proxy.connect(rule, host)
        except OSError as error:
            self._refuse(403 if isinstance(error, PermissionError) else 502, str(error))
            return
        self.server.proxy.note("CONNECT", self.path)
        self.send_response(200, "Connection established")
        self.end_headers()
        self.close_connection = True
        with link:
            _relay(self.connection, link)


def _values(headers: Mapping[str, str]) -> list[bytes]:
    """The secrets of headers: whole values, and what stands behind `Bearer ` and its like."""
    values = [value.encode() for value in headers.values() if value]
    return values + [value.split(b" ", 1)[1] for value in values if b" " in value.strip()]


def _struck(text: bytes, secrets: Sequence[bytes]) -> bytes:
    for secret in secrets:
        # Of the same length: what says how long an answer is stays true.
        text = text.replace(secret, b"*" * len(secret))
    return text


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends or both are silent."""
    while True:
        ready, _, _ = select.select([one, other], [], [], _TIMEOUT_S)
        if not ready:
            return
        for source in ready:
            piece = source.recv(_PIECE_BYTES)
            if not piece:
                return
            (other if source is one else one).sendall(piece)


_FORWARDER = """
import socket, sys, threading
def carry(a, b):
    try:
        while piece := a.recv(65536): b.sendall(piece)
    except OSError: pass
    finally:
        try: b.shutdown(socket.SHUT_WR)
        except OSError: pass
server = socket.create_server(('127.0.0.1', int(sys.argv[1])))
print('ready', flush=True)
while True:
    one, _ = server.accept(); other = socket.socket(socket.AF_UNIX); other.connect(sys.argv[2])
    for pair in ((one, other), (other, one)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""


def forwarder(port: int = 3128) -> str:
    """Write the bash that makes the socket a proxy at 127.0.0.1 for programs of the same shell.

    Args:
        port: Of the loopback inside; every sandbox has its own.
    """
    script = _FORWARDER.replace("'", '"')
    address = f"http://127.0.0.1:{port}"
    names = " ".join(f"{name}={address}" for name in ("http_proxy", "HTTP_PROXY", "https_proxy",
                                                      "HTTPS_PROXY"))  # fmt: skip
    return f"exec 9< <(exec python3 -c '{script}' {port} {INSIDE}); read -r -u 9 _; export {names}"
