"""The input of a batch job, read and tokenised; who holds the job."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from models.errors import (
    AlreadyRunningError,
    ConfigError,
    NotEnoughDataError,
    StorageFullError,
    is_storage_full,
)
from models.inference.backends.choose import (
    check_backend,
)
from models.inference.job_config import JobConfig
from models.inference.keys import Samplings
from models.inference.local_model import LocalModel, find_model
from models.inference.prices import Prices, known_prices
from models.inference.tokens import JobInput, Limits, tokenize_file

NATURAL_PROMPTS = Path("inference") / "natural_prompts" / "natural_prompts.jsonl"
SERVER_CONTEXT = 2**20
"""A server says itself which prompts are too long; our tokenizer only finds prefixes for it."""


@dataclass(frozen=True)
class Places:
    """Where a job finds and keeps things.

    Attributes:
        home: Of the project's state.
        datasets: Root of the data folders.
    """

    home: Path
    datasets: Path

    @property
    def cache(self) -> Path:
        """Converted models, built kernels, tokenised inputs, jobs."""
        return self.home / "inference"


@dataclass(frozen=True)
class BatchInput:
    """A job that has been read, and what is known of it before planning.

    Attributes:
        config: With paths filled in.
        data: Input file.
        output, errors, page: Files to write: results, failed rows, report.
        folder: State of the job.
        model: Files of the model.
        job: Tokenised input.
        samplings: By prompt.
        known_prices: Of the native engine, as known without measuring.
    """

    config: JobConfig
    data: Path
    output: Path
    errors: Path
    page: Path
    folder: Path
    model: LocalModel
    job: JobInput
    samplings: Samplings
    known_prices: Prices

    @property
    def n_input(self) -> int:
        """Rows of the input, bad ones included."""
        return len(self.job.rows) + self.job.n_errors


def read_batch(config: JobConfig, places: Places) -> BatchInput:
    """Read and tokenise the input.

    Raises:
        ConfigError: Backend, url and model contradict each other.
        DatasetMissingError: No such input or model.
        NotEnoughDataError: The input has no rows.
    """
    data = _spelt_out("data", config.data or places.datasets / NATURAL_PROMPTS)
    output = _spelt_out("output", config.output or _usual_output(config, data, places))
    if output.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"results are written as .jsonl or .parquet, got output {output.name}")
    errors, page = beside(output, "errors.jsonl"), beside(output, "report.html")
    _refuse_meeting(data, output, errors, page)
    model = find_model(config.model, places.cache)
    check_backend(config, model)
    is_served = config.url is not None
    _check_context(config, model)
    limits = Limits(
        context_tokens=config.context_tokens
        or (SERVER_CONTEXT if is_served else model.context_tokens),
        vocabulary=model.vocabulary,
        too_long=config.too_long,
        default_max_tokens=config.default_max_tokens,
    )
    job = tokenize_file(data, model.tokenizer, limits, places.cache / "tokens")
    if not len(job.rows) and not job.n_errors:
        raise NotEnoughDataError(f"{data} has no rows; a batch needs one at least")
    name = hashlib.sha256(f"{data}\0{output}".encode()).hexdigest()[:16]
    return BatchInput(
        config=config,
        data=data,
        output=output,
        errors=errors,
        page=page,
        folder=places.cache / "jobs" / f"{data.stem[:40]}-{name}",
        model=model,
        job=job,
        samplings=Samplings(job.rows, config.seed),
        known_prices=known_prices(model, config.dtype, places.cache),
    )


def _check_context(config: JobConfig, model: LocalModel) -> None:
    asked = config.context_tokens
    if asked is None or config.url is not None or model.config is None:
        return
    if asked > model.context_tokens:
        raise ConfigError(
            f"context_tokens {asked:,} asked for, {model.name} was made for "
            f"{model.context_tokens:,}; ask for no more, or leave it out"
        )


def beside(output: Path, name: str) -> Path:
    """Return the place of a file that goes with results.

    Two jobs may write into one folder, so the name of their output stands in front, unless that
    is `results` as it is by default.
    """
    return output.with_name(name if output.stem == "results" else f"{output.stem}.{name}")


def _usual_output(config: JobConfig, data: Path, places: Places) -> Path:
    """Results of a job that names no output; inputs of one name in two folders do not meet."""
    name = data.stem
    if config.data is not None:
        name = f"{name[:40]}-{hashlib.sha256(str(data).encode()).hexdigest()[:8]}"
    return places.cache / "results" / name / "results.jsonl"


def _spelt_out(key: str, path: Path) -> Path:
    """Return a path as the job knows it, however it was written.

    The last part stays as it is: a link that is named as output is replaced, not what it leads to.

    Raises:
        ConfigError: No file can have this path.
    """
    try:
        path = path.expanduser()
        path = path.parent.resolve() / path.name
        str(path).encode()
        path.resolve()  # raises where links go in a circle
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()  # raises where a name is too long
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{key} {str(path)[:200]!r} is no usable path: {error}") from None
    return path


def _refuse_meeting(data: Path, output: Path, errors: Path, page: Path) -> None:
    """Refuse results that would take the place of the input."""
    for what, file in (("output", output), ("the list of errors", errors), ("the report", page)):
        if file.resolve() == data.resolve():
            raise ConfigError(
                f"{what} and the input are the same file, {data}; name another output"
            )


def check_output(output: Path) -> None:
    """Find out now, not after hours of computing, whether a file can be written.

    Raises:
        ConfigError: It cannot.
        StorageFullError: No room for a single byte.
    """
    try:
        if output.is_dir():
            raise ConfigError(f"output {output} is a folder; name a file in it")
        output.parent.mkdir(parents=True, exist_ok=True)
        # As long as the name of the draft that the file is written as.
        with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}-") as probe:
            probe.write(b"\0")
            probe.flush()
    except OSError as error:
        if is_storage_full(error):
            raise StorageFullError(
                f"no space left for {output}; free some, or name another output"
            ) from error
        raise ConfigError(
            f"output {output}: cannot write there ({error.strerror}); name another output"
        ) from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a job: two runs of one would write each other's results.

    Raises:
        AlreadyRunningError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "owner.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise AlreadyRunningError(
            f"another run works on this job ({folder}); wait for it, or name another output"
        ) from None
    try:
        yield
    finally:
        lock.release()
