"""The model registry: who plans (champion), who might (challenger), who always can (fallback)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.upgrades import (
    DurationModel,
    FeatureTable,
    History,
    Policy,
    Split,
    UpgradeConfig,
)
from models.upgrades.model_card import (
    CardMismatchError,
    ModelCard,
    card_of,
    recoded,
    registry_name,
)
from models.upgrades.operating import STRONG_RULE
from models.upgrades.promote import (
    Decision,
    Evidence,
    PromotionRules,
    decide,
    gather_evidence,
)
from tasks.track import TrackedRun
from tasks.track.model_files import FileDigests, store_model
from tasks.track.registry import (
    Alias,
    ModelDamagedError,
    ModelRegistry,
    RegisteredVersion,
    RegistryUnreachableError,
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
    registry = registry_of(history, config)
    ground = _Ground(registry, fallback, history, features, split, config, rules, run)
    kept = [
        ground.keep(fallback, FALLBACK, "model/fallback"),
        ground.keep(model, policy, "model/candidate"),
    ]
    if run.is_spooled:
        note = "the tracking server is out of reach: the models wait with the run, unregistered"
        log.warning(note)
        return Registration(None, None, None, note)
    evidence = ground.evidence(model, policy, features)
    run.tags({"registry.name": registry.name})
    try:
        _register_fallback(ground, kept[0])
        done = _register(ground, evidence, kept[1])
    except RegistryUnreachableError as error:
        log.warning("not registered: %s", error)
        run.tags({"registry.note": str(error)})
        return Registration(None, None, None, str(error))
    if done.decision is not None:
        run.artifact("model/decision.json", done.decision.to_json())
    run.tags({"registry.version": done.version, "registry.alias": done.alias})
    run.tags({"registry.note": done.note})
    log.info("version %s of %s is %s: %s", done.version, registry.name, done.alias, done.note)
    return done


def registry_of(history: History, config: UpgradeConfig) -> ModelRegistry:
    """Return the registered model that belongs to a history."""
    return ModelRegistry(registry_name(config.data, history.source, config.registry_name))


@task(cache_policy=NO_CACHE)
def fall_back(history: History, config: UpgradeConfig, why: str, run: TrackedRun) -> bool:
    """Let the fallback of a history plan: point the alias `champion` at its version.

    Returns whether anything changed; no fallback and a registry out of reach are told, not
    raised: the caller's report matters more.
    """
    log = get_run_logger()
    registry = registry_of(history, config)
    try:
        fallback, champion = registry.find("fallback"), registry.find("champion")
        if fallback is None or champion is None or fallback.version == champion.version:
            log.warning(
                "nothing to fall back from or to: champion %s, fallback %s",
                champion and champion.version,
                fallback and fallback.version,
            )
            return False
        registry.point("champion", fallback.version)
        registry.tag(champion.version, {"retired.why": why, "retired.by_run": run.run_id})
    except RegistryUnreachableError as error:
        log.warning("did not fall back: %s", error)
        return False
    run.tags({"registry.fell_back_from": champion.version, "registry.note": why})
    log.warning(
        "version %d is champion now instead of %d: %s", fallback.version, champion.version, why
    )
    return True


class _Kept(NamedTuple):
    """A forecaster whose files are with the run."""

    card: ModelCard
    folder: str
    sha256: FileDigests


@dataclass(frozen=True)
class _Ground:
    """Where both sides of a promotion meet."""

    registry: ModelRegistry
    fallback: DurationModel
    history: History
    features: FeatureTable
    split: Split
    config: UpgradeConfig
    rules: PromotionRules
    run: TrackedRun

    def keep(self, model: DurationModel, policy: Policy, folder: str) -> _Kept:
        config = self.config
        card = card_of(
            *(model, policy, self.history, self.features, self.split),
            *(config.levels, config.costs, config.window_s),
        )
        return _Kept(card, folder, store_model(model, card, folder, self.run))

    def evidence(self, model: DurationModel, policy: Policy, features: FeatureTable) -> Evidence:
        return gather_evidence(
            model, policy, self.history, features, self.split, self.config, self.rules
        )

    def add(self, kept: _Kept) -> int:
        return self.registry.add(kept.card, kept.folder, self.run, kept.sha256)

    def is_whole(self, version: RegisteredVersion) -> bool:
        try:
            self.registry.load(version)
        except ModelDamagedError:
            return False
        return True

    def is_same(self, version: RegisteredVersion, card: ModelCard) -> bool:
        is_same = (version.digest, version.costs_hash) == (card.digest, card.costs_hash)
        # A damaged one is replaced by the same forecaster, whole.
        return bool(card.digest) and is_same and self.is_whole(version)


def _register_fallback(ground: _Ground, kept: _Kept) -> None:
    known = ground.registry.find("fallback")
    if known is None or known.digest != kept.card.digest or not ground.is_whole(known):
        ground.registry.point("fallback", ground.add(kept))


def _register(ground: _Ground, evidence: Evidence, kept: _Kept) -> Registration:
    registry = ground.registry
    champion = registry.find("champion")
    if champion is not None and ground.is_same(champion, kept.card):
        return Registration(
            champion.version, "champion", None, "the same forecaster is champion already"
        )
    rival, note = _rival(ground, champion)
    decision = decide(evidence, rival, ground.rules)
    challenger = registry.find("challenger")
    if challenger is not None and ground.is_same(challenger, kept.card):
        version = challenger.version
    else:
        version = ground.add(kept)
    registry.tag(version, {"decision": decision.words})
    words = f"{note}{decision.words}"
    if not decision.is_promoted:
        registry.point("challenger", version)
        return Registration(version, "challenger", decision, words)
    registry.point("champion", version)
    registry.drop("challenger")
    if champion is not None:
        retired = {"retired.why": words, "retired.by_run": ground.run.run_id}
        registry.tag(champion.version, retired)
    return Registration(version, "champion", decision, words)


def _rival(ground: _Ground, champion: RegisteredVersion | None) -> tuple[Evidence, str]:
    """Evidence of the champion, or of the fallback where it cannot be compared, and why."""
    why = "no champion yet"
    if champion is not None:
        try:
            model, card = ground.registry.load(champion)
            if card.known_until_s <= ground.split.test_from_s:
                own = recoded(ground.features, card)
                return ground.evidence(model, card.chosen, own), ""
            why = "the champion was fitted on something of this test part"
        except (ModelDamagedError, CardMismatchError) as error:
            why = str(error)
    rival = ground.evidence(ground.fallback, FALLBACK, ground.features)
    return rival, f"{why}, compared with the fallback: "
