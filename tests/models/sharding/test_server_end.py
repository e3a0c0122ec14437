"""The MCP server ends when it is asked to, even while a call computes."""

import json
import signal
import subprocess
import sys
import time

import pytest

from models.settings import ROOT

# The most that is looked at for any shipped model: several seconds of work.
LARGE = {"model": "deepseek-v3", "slice": "h100:131072", "seq_len": 8192, "global_batch": 131072}


@pytest.fixture
def server():
    command = [sys.executable, "-m", "models.sharding.server.serve"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)
    send(process, "initialize", 1, protocolVersion="2025-06-18", capabilities={},
         clientInfo={"name": "test", "version": "1"})  # fmt: skip
    assert json.loads(process.stdout.readline())["id"] == 1
    send(process, "notifications/initialized")
    yield process
    process.kill()
    process.communicate()


def send(process, method, number=None, **params):
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    message |= {} if number is None else {"id": number}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


@pytest.mark.parametrize("is_busy", [False, True])
@pytest.mark.parametrize("how", ["term", "close"])
def test_the_server_ends_within_seconds(server, is_busy, how):
    if is_busy:
        send(server, "tools/call", 2, name="propose", arguments={"job": LARGE})
        time.sleep(0.5)
        assert server.poll() is None
    if how == "term":
        server.send_signal(signal.SIGTERM)
    else:
        server.stdin.close()
        server.stdin = None
    assert server.wait(timeout=20) == 0
    assert b"Traceback" not in server.stderr.read()


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"slice": "h100:99999999999999999999999"}, "more than 1048576 chips"),
        ({"slice": "h100:9223372036854775808"}, "more than 1048576 chips"),
        ({"slice": "v6e:16x16", "pods": 10**18}, "'job.pods': "),
        ({"slice": "h100:64", "global_batch": 10**25}, "'job.global_batch': "),
        ({"slice": "h100:64", "seq_len": 10**25}, "'job.seq_len': "),
        ({"slice": "h100:64", "output_len": 10**20}, "'job.output_len': "),
        # 240 divisors: millions of ways.
        ({"slice": "h100:720720", "seq_len": 720720, "global_batch": 720720}, "fewer divisors"),
    ],
)
def test_sizes_beyond_all_bounds_are_answered_at_once(server, job, said):
    asked = {"model": "llama3.1-405b", "seq_len": 4096, "global_batch": 64} | job
    send(server, "tools/call", 2, name="propose", arguments={"job": asked})
    result = json.loads(server.stdout.readline())["result"]
    assert result["isError"]
    assert said in result["content"][0]["text"]
