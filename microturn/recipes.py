"""Recipes: functions that return everything a run needs. A variant of a run is a few lines of Python here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from microturn.model.config import ModelConfig
from microturn.model.tokens import default_tokenizer
from microturn.scenario import listening, practice, rehearsal, spelling, watching
from microturn.scenario.corpus import CorpusConfig
from microturn.scenario.generate import generate
from microturn.scenario.rehearsal import rehearsed
from microturn.scenario.scenario import Scenario, Split
from microturn.train.augment import AugmentConfig
from microturn.train.data import DataConfig
from microturn.train.loop import TrainConfig
from microturn.train.loss import LossConfig
from microturn.train.optim import OptimConfig

MIXTURE = {
    "say": 0.20,
    "time": 0.16,
    "cue": 0.16,
    "count": 0.08,
    "free": 0.12,
    "idle": 0.04,
    "string": 0.06,
    practice.FAMILY: 0.08,
    rehearsed("say"): 0.55,
    rehearsed("time"): 0.75,
    rehearsed("cue"): 0.75,
    rehearsed("count"): 0.20,
    rehearsed("free"): 0.15,
    rehearsed("string"): 0.15,
    spelling.FAMILY: 0.15,
    listening.FAMILY: 1.2,
    watching.FAMILY: 0.35,
}
"""Shares of the families in the default corpus. Hearing gets sessions of its own, and so does what to do when: with a
few thousand sessions the network learns them by heart (docs/log.md), and rehearsed ones cost a tenth to make."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One whole run: corpus, model, training."""

    name: str
    model: ModelConfig
    corpus: CorpusConfig
    dev_corpus: CorpusConfig
    train: TrainConfig
    data: DataConfig
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def make_scenario(family: str, seed: int, split: Split, data: Path | None) -> Scenario:
    """A scenario of any family of a mixture, speaking and listening practice among them."""
    if family == practice.FAMILY:
        return practice.practice(seed, split)
    if family == spelling.FAMILY:
        return spelling.spelling(seed, split)
    if family.startswith(rehearsal.PREFIX):
        return rehearsal.rehearsal(family, seed, split)
    if family == watching.FAMILY:
        return watching.watching(seed, split, data)
    if family == listening.FAMILY:
        return listening.listening(seed, split, data)
    return generate(family, seed, split, data=data)


SHARES = {"string": 0.5, "free": 0.4, "count": 0.6}
"""How often records are drawn in an epoch, other than once. ``free`` is mostly heard, which listening practice teaches
for less; long sessions and pictures come less often."""
LISTENING_STEPS = 6_000
OPTIM = OptimConfig(matrix_rate=0.008, rate=8e-4, decay_share=0.6, listening_steps=LISTENING_STEPS, listening_share=0.7)


def nano(data: Path | None = None) -> Recipe:
    """The default weights: size 3, about five hours on two CPU cores, one of them listening."""
    folder = None if data is None else str(data)
    return Recipe(
        name="nano",
        model=ModelConfig.of_size(3, vocab_size=default_tokenizer().vocab_size),
        corpus=CorpusConfig(weights=MIXTURE, num_records=40_000, data=folder),
        dev_corpus=CorpusConfig(weights=MIXTURE, num_records=256, split="heldout", first_seed=500_000, data=folder),
        train=TrainConfig(num_steps=16_000, optim=OPTIM, loss=LossConfig(max_flow_turns=96)),
        data=DataConfig(
            batch_tokens=3_600,
            family_shares=SHARES,
            listening_steps=LISTENING_STEPS,
            listening_every=3,
            watching_every=8,
            spelling_every=6,
        ),
    )


def nano_gpu(data: Path | None = None) -> Recipe:
    """A size up, for one GPU and many cores: more sessions, larger batches, everything else as ``nano``."""
    base = nano(data)
    return replace(
        base,
        name="nano_gpu",
        model=ModelConfig.of_size(4, vocab_size=base.model.vocab_size),
        corpus=replace(base.corpus, num_records=200_000),
        train=replace(base.train, loss=LossConfig(max_flow_turns=1_024)),
        data=replace(base.data, batch_tokens=36_000, pool_records=4_096, num_workers=12),
    )


RECIPES: dict[str, Callable[[Path | None], Recipe]] = {"nano": nano, "nano_gpu": nano_gpu}
"""Recipes by the name that ``microturn train`` takes."""
