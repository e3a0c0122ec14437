"""The model registry: who plans (champion), who might (challenger), who always can (fallback)."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.upgrades import (
    DurationModel,
    FeatureTable,
    History,
    Policy,
    Split,
    UpgradeConfig,
    build_forecaster,
)
from models.upgrades.model_card import CardMismatchError, ModelCard, card_of, recoded
from models.upgrades.operating import STRONG_RULE
from models.upgrades.promote import (
    Decision,
    Evidence,
    PromotionRules,
    decide,
    gather_evidence,
)
from tasks.track import TrackedRun
from tasks.track.registry import (
    Alias,
    ModelDamagedError,
    RegisteredVersion,
    RegistryUnreachableError,
    add_version,
    drop_alias,
    find_version,
    load_version,
    set_alias,
    store_model,
    tag_version,
)

FALLBACK = STRONG_RULE
"""Always valid: the body P95 of each type needs no margins, no trees and no tuning."""


@dataclass(frozen=True)
class Registration:
    """What became of a forecaster in the registry.

    Attributes:
        version: Its version; None: the registry was out of reach.
        alias: What it is now: champion or challenger; None without a version.
        decision: Whether it was promoted and why; None: it was the champion already, or
            nothing could be compared.
        note: In words.
    """

    version: int | None
    alias: Alias | None
    decision: Decision | None
    note: str


@dataclass(frozen=True)
class Judged:
    """A forecaster to use or to judge, with features in its own codes.

    Attributes:
        model: The forecaster.
        policy: How it plans.
        features: As-of features, recoded for it.
        known_until_s: What started earlier may have been fitted on.
        is_fallback: Whether it stands in for a missing champion.
        note: Where it comes from, in words.
    """

    model: DurationModel
    policy: Policy
    features: FeatureTable
    known_until_s: int
    is_fallback: bool
    note: str


@task(cache_policy=NO_CACHE)
def register_forecaster(
    model: DurationModel,
    policy: Policy,
    fallback: DurationModel,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
    run: TrackedRun,
    rules: PromotionRules | None = None,
) -> Registration:
    """Register the selected forecaster as challenger and promote it if the rule says so.

    The run keeps the model in any case; a registry that is out of reach does not fail it.
    The first champion must beat the fallback by the same rule. A champion that was fitted
    on other columns, or on something of this test part, cannot be compared: the fallback
    stands in for it.

    Args:
        model: Selected forecaster.
        policy: Selected policy.
        fallback: The fitted body-p95.
        history: Canonical events.
        features: As-of features of the whole history.
        split: Parts; both sides are judged on `split.test`.
        config: Windows and costs.
        run: Gets model files, the decision and tags.
        rules: Bands of the promotion; None: the defaults.
    """
    log = get_run_logger()
    rules = rules or PromotionRules(seed=config.seed)
    cards = {
        "fallback": _card(fallback, FALLBACK, history, features, split, config),
        "candidate": _card(model, policy, history, features, split, config),
    }
    kept = {
        "fallback": store_model(fallback, cards["fallback"], "model/fallback", run),
        "candidate": store_model(model, cards["candidate"], "model/candidate", run),
    }
    if run.is_spooled:
        note = "the tracking server is out of reach: the models wait with the run, unregistered"
        log.warning(note)
        return Registration(None, None, None, note)
    evidence = gather_evidence(model, policy, history, features, split, config, rules)
    try:
        _register_fallback(cards["fallback"], kept["fallback"], run)
        done = _register(
            *(evidence, cards["candidate"], fallback, history, features, split, config),
            *(run, rules, kept["candidate"]),
        )
    except RegistryUnreachableError as error:
        log.warning("not registered: %s", error)
        run.tags({"registry.note": str(error)})
        return Registration(None, None, None, str(error))
    if done.decision is not None:
        run.artifact("model/decision.json", done.decision.to_json())
    run.tags({"registry.version": done.version, "registry.alias": done.alias})
    run.tags({"registry.note": done.note})
    log.info("version %s is %s: %s", done.version, done.alias, done.note)
    return done


@task(cache_policy=NO_CACHE)
def load_champion(
    history: History, features: FeatureTable, split: Split, config: UpgradeConfig
) -> Judged:
    """Load the champion; without a whole one that fits this history, fit the fallback.

    The note says so.
    The fallback is fitted by the split, so it has seen nothing of the test part.
    """
    log = get_run_logger()
    try:
        found = find_version("champion")
        if found is None:
            why = "no champion is registered"
        else:
            model, card = load_version(found)
            note = f"champion, version {found.version} of the registry"
            own = recoded(features, card)
            log.info("%s: %s", note, card.chosen.label)
            return Judged(model, card.chosen, own, card.known_until_s, False, note)
    except (RegistryUnreachableError, ModelDamagedError, CardMismatchError) as error:
        why = str(error)
    log.warning("the fallback stands in: %s", why)
    model = build_forecaster(FALLBACK.forecaster, features, history, split, config)
    note = f"fallback stands in: {why}"
    return Judged(model, FALLBACK, features, split.test_from_s, True, note)


@task(cache_policy=NO_CACHE)
def fall_back(why: str, run: TrackedRun) -> bool:
    """Let the fallback plan: point the alias `champion` at its version.

    Returns whether anything changed; no fallback and a registry out of reach are told, not
    raised: the caller's report matters more.
    """
    log = get_run_logger()
    try:
        fallback, champion = find_version("fallback"), find_version("champion")
        if fallback is None or champion is None or fallback.version == champion.version:
            log.warning(
                "nothing to fall back from or to: champion %s, fallback %s",
                champion and champion.version,
                fallback and fallback.version,
            )
            return False
        set_alias("champion", fallback.version)
        tag_version(champion.version, {"retired.why": why, "retired.by_run": run.run_id})
    except RegistryUnreachableError as error:
        log.warning("did not fall back: %s", error)
        return False
    run.tags({"registry.fell_back_from": champion.version, "registry.note": why})
    log.warning(
        "version %d is champion now instead of %d: %s", fallback.version, champion.version, why
    )
    return True


def _card(
    model: DurationModel,
    policy: Policy,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
) -> ModelCard:
    return card_of(
        *(model, policy, history, features, split, config.levels, config.costs, config.window_s)
    )


def _register_fallback(card: ModelCard, sha256: str, run: TrackedRun) -> None:
    known = find_version("fallback")
    if known is None or known.digest != card.digest or not _is_whole(known):
        set_alias("fallback", add_version(card, "model/fallback", run, sha256))


def _register(
    evidence: Evidence,
    card: ModelCard,
    fallback: DurationModel,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
    run: TrackedRun,
    rules: PromotionRules,
    sha256: str,
) -> Registration:
    champion = find_version("champion")
    if champion is not None and _is_same(champion, card):
        return Registration(
            champion.version, "champion", None, "the same forecaster is champion already"
        )
    rival, note = _rival(champion, fallback, history, features, split, config, rules)
    decision = decide(evidence, rival, rules)
    challenger = find_version("challenger")
    if challenger is not None and _is_same(challenger, card):
        version = challenger.version
    else:
        version = add_version(card, "model/candidate", run, sha256)
    tag_version(version, {"decision": decision.words})
    words = f"{note}{decision.words}"
    if not decision.is_promoted:
        set_alias("challenger", version)
        return Registration(version, "challenger", decision, words)
    set_alias("champion", version)
    drop_alias("challenger")
    if champion is not None:
        tag_version(champion.version, {"retired.why": words, "retired.by_run": run.run_id})
    return Registration(version, "champion", decision, words)


def _is_same(version: RegisteredVersion, card: ModelCard) -> bool:
    said = (version.digest, version.costs_hash)
    # A damaged one is replaced by the same forecaster, whole.
    return bool(card.digest) and said == (card.digest, card.costs_hash) and _is_whole(version)


def _is_whole(version: RegisteredVersion) -> bool:
    try:
        load_version(version)
    except ModelDamagedError:
        return False
    return True


def _rival(
    champion: RegisteredVersion | None,
    fallback: DurationModel,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
    rules: PromotionRules,
) -> tuple[Evidence, str]:
    """Evidence of the champion, or of the fallback where it cannot be compared, and why."""
    why = "no champion yet"
    if champion is not None:
        try:
            model, card = load_version(champion)
            if card.known_until_s <= split.test_from_s:
                own = recoded(features, card)
                rival = gather_evidence(model, card.chosen, history, own, split, config, rules)
                return rival, ""
            why = "the champion was fitted on something of this test part"
        except (ModelDamagedError, CardMismatchError) as error:
            why = str(error)
    rival = gather_evidence(fallback, FALLBACK, history, features, split, config, rules)
    return rival, f"{why}, compared with the fallback: "
