"""Ask HTTP servers with the standard library: JSON in, JSON out, short time-outs."""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def ask(url: str, body: object = None, *, timeout_s: float = 10, tries: int = 6) -> Any:
    """Send a request (POST when there is a body) and return the decoded JSON answer.

    An answer of 503 is asked again, as Prefect's own client does: its server gives it while
    another process writes to the SQLite database.

    Raises:
        OSError: Nobody answered, or the answer was an error (`urllib.error.HTTPError`; its
            message quotes the answer).
        ValueError: The answer is no JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **_authorization()}
    request = urllib.request.Request(url, data=data, headers=headers)
    for attempt in range(tries):
        try:
            with _opener(url).open(request, timeout=timeout_s) as answer:
                text = answer.read()
            break
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or attempt == tries - 1:
                said = error.read(500).decode(errors="replace").strip()
                error.msg = f"{error.msg}: {said}" if said else error.msg
                raise
            time.sleep(0.2 * 2**attempt)
        except http.client.HTTPException as error:
            raise OSError(f"{url} answered with something else than HTTP ({error!r})") from error
    return json.loads(text) if text.strip() else None


def answers(url: str, timeout_s: float = 5) -> bool:
    """Tell whether `url` answers with success."""
    try:
        with _opener(url).open(url, timeout=timeout_s) as answer:
            return bool(200 <= answer.status < 300)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Servers on this machine are reached directly, whatever http_proxy says."""
    if urlsplit(url).hostname in LOOPBACK:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def _authorization() -> dict[str, str]:
    """Read the credentials that the Prefect client itself would send."""
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {}
