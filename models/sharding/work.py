"""The steps of a plan, from its config: site, present layout, profile, knowledge, proposer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.errors import ConfigError, NotEnoughDataError
from models.llm import LanguageModel
from models.sharding.asking import answer_s, named_model
from models.sharding.baselines import pure_fsdp
from models.sharding.calibrate import Runs, calibrate
from models.sharding.compile import compile_layout, profile_of
from models.sharding.config import PlanConfig
from models.sharding.constants import Constants
from models.sharding.diagnosis import Diagnosis
from models.sharding.export.registry import read_layout
from models.sharding.job import Job
from models.sharding.knowledge.cases import Case, append_case, cases_of, read_cases
from models.sharding.knowledge.documents import read_documents
from models.sharding.knowledge.embed import load_embedder
from models.sharding.knowledge.guard import Guarded, leave_group_out
from models.sharding.knowledge.recall import Recalled, recall
from models.sharding.landscapes import read_landscapes
from models.sharding.layout import Layout, LayoutTable, why_illegal
from models.sharding.memory import memory_use
from models.sharding.planner.analytic import AnalyticProposer
from models.sharding.planner.base import PlanContext, Planned, Proposer
from models.sharding.planner.language_model import LanguageModelProposer
from models.sharding.profile import Profile, analytic_profile, read_profile
from models.sharding.propose import cost_of
from models.sharding.published import read_published
from models.sharding.ranking import prior_of
from models.sharding.report.numbers import model_flops
from models.sharding.residual import Site, learn_site
from models.sharding.space import enumerate_layouts
from models.sharding.words import parse_layout


@dataclass(frozen=True)
class Known:
    """What is known of the step as it runs now."""

    layout: Layout
    origin: str
    """Where the layout comes from."""
    profile: Profile
    is_measured: bool
    """Whether the profile was read from a file."""
    fits: bool
    """Whether the memory model lets the layout run."""
    notes: tuple[str, ...] = ()
    """Where what was measured is not what we would have expected."""


def site_of(runs: Path | None) -> Site:
    """Return what a site's runs teach; without runs the constants of the literature.

    Raises:
        DatasetMissingError: There is no such file.
        ContractError: The file is no table of runs.
    """
    if runs is None:
        return Site()
    return learn_site([one.runs for one in read_landscapes(runs)])


def present_layout(
    config: PlanConfig, job: Job, profile: Profile | None
) -> tuple[Layout | None, str]:
    """Return the layout that runs now and where it comes from; None: no layout is legal.

    Raises:
        ConfigError: It cannot be read, it is illegal, or there is a profile and nobody says
            which layout it is of.
    """
    if config.present:
        layout, origin = _read_present(config.present, job), "as given"
    elif profile is not None and profile.layout is not None:
        layout, origin = profile.layout, "as the profile says"
    elif config.data is not None:
        raise ConfigError(
            f"profile {config.data.name} does not say which layout it is of; name it in "
            "`present`, such as present='fsdp=64 tensor=4 micro=2 full'"
        )
    else:
        return trivial_layout(job), "the trivial answer, since none is given"
    if reasons := why_illegal(layout, job):
        raise ConfigError(
            f"the present layout ({layout.text()}) does not fit the question: {'; '.join(reasons)}"
        )
    return layout, origin


def _read_present(text: str, job: Job) -> Layout:
    path = Path(text)
    # A file's name is short and on one line; anything else is the text itself.
    if len(text) < 1000 and "\n" not in text and path.is_file():
        return read_layout(path, job).layout
    return read_layout(text, job).layout if "\n" in text or "--" in text else parse_layout(text)


def trivial_layout(job: Job) -> Layout | None:
    """Return the layout that needs no thought: pure FSDP, or what comes nearest to it.

    Where pure FSDP is illegal (a batch below the chips, serving), the fastest of the legal
    layouts with the most batch shards, of those that fit where any does. None: none is legal.
    """
    pure = pure_fsdp(job)
    if job.workload.is_training and not why_illegal(pure, job):
        return pure
    table = enumerate_layouts(job)
    if table.size == 0:
        return None
    fits = memory_use(table, job).total <= job.place.chip.hbm_bytes
    table = table.take(fits) if fits.any() else table
    shards = table.batch_shards(job)
    table = table.take(shards == shards.max())
    return table.row(int(np.argmin(cost_of(table, job).step_s)))


def known_step(config: PlanConfig, job: Job, constants: Constants) -> Known | None:
    """Read the profile of the present layout, or predict it; None: no layout is legal.

    Raises:
        DataError: There is no such file, or it cannot be read.
        ConfigError: The layout cannot be told or is illegal.
    """
    profile = None
    if config.data is not None:
        layout = _read_present(config.present, job) if config.present else None
        profile = read_profile(config.data, job, layout)
    layout, origin = present_layout(config, job, profile)
    if layout is None:
        return None
    use = memory_use(LayoutTable.of([layout]), job, constants)
    fits = bool(use.total[0] <= job.place.chip.hbm_bytes)
    if profile is None:
        expected = analytic_profile(job, layout, constants)
        return Known(layout, origin, expected, is_measured=False, fits=fits)
    _refuse_another_program(profile, job, config.data)
    notes = []
    peak, low, high = profile.peak_hbm_bytes, float(use.low[0]), float(use.high[0])
    if peak is not None and not low <= peak <= high:
        notes.append(
            f"the profile's peak is {peak / 1e9:.3g} GB, our memory model expects {low / 1e9:.3g} "
            f"to {high / 1e9:.3g} GB: believe its figures for proposals as little"
        )
    return Known(layout, origin, profile, True, fits, tuple(notes))


def compiled_step(known: Known, config: PlanConfig, job: Job, cache: Path) -> Known:
    """Replace the cost model's profile by that of a compile, where one is asked for.

    A compile that gives no program leaves the cost model's, with a note that says why.

    Args:
        known: Of `known_step`; a profile that was read from a file stays.
        config: Which compiler.
        job: Model, workload, slice.
        cache: Folder of remembered compiles.
    """
    if known.is_measured or config.profile == "model":
        return known
    compiled = compile_layout(job, known.layout, config.profile, cache, time_s=config.compile_s)
    try:
        return replace(known, profile=profile_of(compiled, job))
    except NotEnoughDataError as error:
        note = f"{error}; the cost model's profile stands"
        return replace(known, notes=(*known.notes, note))


def _refuse_another_program(profile: Profile, job: Job, file: Path | None) -> None:
    """Raise where a profile cannot be of the question's step."""
    name = file.name if file else "the profile"
    foreign = [one for one in profile.warnings if "runs on" in one and "devices" in one]
    if foreign:
        raise ConfigError(
            f"{name} is of another program: {foreign[0]}; ask with the slice, model, batch and "
            "layout that it was compiled for"
        )
    least_s = model_flops(job) / (job.place.chips * job.place.chip.rate(job.workload.compute))
    if profile.step_s is not None and profile.step_s < least_s:
        raise ConfigError(
            f"{name} has steps of {profile.step_s:.3g} s, but {job.model.name} on "
            f"{job.place.text()} needs {least_s:.3g} s at the peak of the chips: it is of another "
            "program or batch; ask with what it was run with"
        )


def anchored(site: Site, known: Known | None, job: Job) -> Site:
    """Return the constants fitted to the one measured step, where no runs of the site are known.

    What the model says of other layouts is then relative to what was measured, so that a proposal
    is not faster for being predicted. How sure it is stays as it was: one run shows no spread.
    """
    if known is None or not known.is_measured or site.places is not None:
        return site
    step_s = known.profile.step_s
    is_sure = known.profile.trust.get("step_s") == "measured"
    if step_s is None or not is_sure or not job.workload.is_training:
        return site
    one = Runs(job, LayoutTable.of([known.layout]), np.array([step_s]), np.array([np.nan]))
    fitted = calibrate([one], site.constants)
    return Site(replace(fitted, time_spread=site.constants.time_spread))


def keep_run(known: Known | None, job: Job, home: Path) -> None:
    """Add a measured step to the cases of this installation, once.

    Args:
        known: What was measured; predictions and compiles are no runs.
        job: What it is of.
        home: Cases are in `sharding/cases.jsonl` below it.
    """
    if known is None or known.profile.trust.get("step_s") != "measured":
        return
    file = home / "sharding" / "cases.jsonl"
    place = f"{known.profile.digest}{known.layout.text()}{job.model.name}{job.place.text()}"
    name = f"run-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    if name not in {one.id for one in read_cases(file).cases}:
        step_s = known.profile.step_s
        append_case(file, Case(name, job, known.layout, "ran", step_s, known.profile.source))


def recall_for(
    job: Job, diagnosis: Diagnosis | None, home: Path, leave_own_out: bool = False
) -> Recalled:
    """Find documents, published and past runs for a job.

    Args:
        job: What is answered.
        diagnosis: Whose sentences are the question.
        home: Past runs are in `sharding/cases.jsonl` below it.
        leave_own_out: Whether what is of the job's own model family and chip is left out.
    """
    past = read_cases(home / "sharding" / "cases.jsonl")
    cases = (*cases_of(read_published().rows), *past.cases)
    documents = read_documents()
    known = Guarded(documents, cases, (), (), ())
    if leave_own_out:
        known = leave_group_out(job, documents, cases)
    embedder, reason = load_embedder(home / "sharding" / "vectors")
    return recall(job, known, diagnosis.sentences if diagnosis else (), embedder, reason)


def proposer_of(config: PlanConfig, model: LanguageModel | None = None) -> Proposer:
    """Return who proposes.

    Args:
        config: Which kind, and the address of its model.
        model: Answers in that model's place.

    Raises:
        ConfigError: The language model's address is missing or none.
    """
    if config.proposer == "analytic":
        return AnalyticProposer()
    return LanguageModelProposer(
        model or named_model(config), timeout_s=answer_s(config), anonymous=config.anonymous
    )


def plan_of(
    config: PlanConfig, job: Job, site: Site, diagnosis: Diagnosis | None, recalled: Recalled,
    model: LanguageModel | None = None,
) -> Planned:  # fmt: skip
    """Propose layouts with all that is known; `model` answers in the config's place."""
    context = PlanContext(
        site.constants,
        prior_of(config.rank, site),
        site.log_correction if site.places is not None else None,
        config.proposals,
        diagnosis,
        recalled,
    )
    return proposer_of(config, model).propose(job, context)


def tokens_per_s_per_chip(job: Job, step_s: float) -> float:
    """Return tokens per second and chip: of the batch when training, produced when serving."""
    work = job.workload
    tokens = work.tokens if work.is_training else work.global_batch * work.output_len
    return tokens / step_s / job.place.chips
