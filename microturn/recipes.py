"""Recipes: functions that return everything a run needs. A variant of a run is a few lines of Python here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from microturn.language.tokenizer import default_tokenizer
from microturn.model.config import ModelConfig
from microturn.scenario.filling import BankConfig
from microturn.scenario.generate import STRING
from microturn.scenario.practice import PRACTICE, REHEARSED, RESULTS, SPELLING, WATCHING
from microturn.train.hear import ListeningRows
from microturn.train.loop import StageConfig, TrainConfig
from microturn.train.optim import OptimConfig
from microturn.train.run import Recipe
from microturn.train.sessions import SessionRows
from microturn.train.tasks import TaskConfig
from microturn.train.voice import SpeakingRows, VoiceRows

REHEARSALS = {
    REHEARSED + "say": 0.15,
    REHEARSED + "time": 0.12,
    REHEARSED + "cue": 0.12,
    REHEARSED + "free": 0.03,
    REHEARSED + "idle": 0.02,
    REHEARSED + STRING: 0.40,
    REHEARSED + "delegate": 0.20,
    REHEARSED + "interrupt": 0.15,
    PRACTICE: 0.04,
    SPELLING: 0.15,
    RESULTS: 0.15,
}
"""Shares of the families among sessions without pictures."""
CONVERSATIONS = {
    "say": 0.22,
    "time": 0.18,
    "cue": 0.18,
    "free": 0.04,
    "idle": 0.08,
    STRING: 0.30,
    "delegate": 0.15,
    "interrupt": 0.10,
}
"""Shares of the families among sessions with the user's sound."""
TASKS = {
    "hear": TaskConfig(source=ListeningRows(), tokens=2_560, uses=3),
    "decide": TaskConfig(source=SessionRows(shares=REHEARSALS), max_tokens=1_536),
    "converse": TaskConfig(source=SessionRows(shares=CONVERSATIONS, hears=True), max_tokens=1_536, uses=4),
    "watch": TaskConfig(source=SessionRows(shares={WATCHING: 1.0})),
    "count": TaskConfig(source=SessionRows(shares={REHEARSED + "count": 1.0})),
    "speak": TaskConfig(source=SpeakingRows(), tokens=1_536, uses=1),
    "voice": TaskConfig(source=VoiceRows(), tokens=512, uses=8),
}
HEARING = ("network.hearing.", "phones.")
READING = ("network.embedder.", "network.backbone.", "network.say.", "phases.")
SPEAKING = ("network.flow.",)
VOCODER = ("vocoder.",)


def optim(rate: float, *parts: str, decay_share: float = 0.6) -> OptimConfig:
    """Rates in the proportion that suits both optimisers."""
    return OptimConfig(matrix_rate=0.01 * rate, rate=1e-3 * rate, decay_share=decay_share, parts=parts)


def nano() -> Recipe:
    """The default weights: size 3, hours on two CPU cores. Hearing and reading have no parameters in common."""
    return Recipe(
        name="nano",
        model=ModelConfig.of_size(3, vocab_size=default_tokenizer().vocab_size),
        bank=BankConfig(num_synthesised=20_000, num_kokoro=6_000, num_piper=8_000),
        train=TrainConfig(
            tasks=TASKS,
            stages=(
                StageConfig(name="hear", num_steps=3_000, shares={"hear": 1.0}, optim=optim(0.8, *HEARING)),
                StageConfig(
                    name="hear_again", num_steps=9_000, shares={"hear": 1.0}, realigns=True, optim=optim(0.8, *HEARING)
                ),
                StageConfig(
                    name="decide",
                    num_steps=8_000,
                    shares={"decide": 0.4, "converse": 0.3, "watch": 0.1, "count": 0.2},
                    optim=optim(1.0, *READING),
                ),
                StageConfig(name="speak", num_steps=3_000, shares={"speak": 1.0}, optim=optim(1.0, *SPEAKING)),
                StageConfig(
                    name="voice",
                    num_steps=10_000,
                    shares={"voice": 1.0},
                    optim=OptimConfig(matrix_rate=None, rate=2e-3, decay_share=0.7, parts=VOCODER),
                ),
            ),
        ),
    )


def nano_gpu() -> Recipe:
    """A size up, for one GPU and many cores: larger batches, everything else as ``nano``."""
    base = nano()
    tasks = {name: replace(task, tokens=12 * task.tokens) for name, task in TASKS.items()}
    return replace(
        base,
        name="nano_gpu",
        model=ModelConfig.of_size(4, vocab_size=base.model.vocab_size),
        train=replace(base.train, tasks=tasks, num_workers=12, bfloat16=True),
    )


def nano_again() -> Recipe:
    """One more round for weights that are there, with ``--start``, ``--seed`` and ``--stage``; the mean of what comes
    out and what went in was better than either (``scripts/average-weights.py``; docs/log.md, 2026-11-30)."""
    base = nano()
    stages = (
        StageConfig(name="hear", num_steps=800, shares={"hear": 1.0}, optim=optim(0.8, *HEARING, decay_share=0.0)),
        StageConfig(
            name="hear_again",
            num_steps=2_000,
            shares={"hear": 1.0},
            realigns=True,
            optim=optim(0.8, *HEARING, decay_share=0.9),
        ),
        StageConfig(
            name="decide",
            num_steps=1_500,
            shares={"decide": 0.55, "converse": 0.30, "count": 0.15},
            optim=optim(0.8, *READING[:-1], decay_share=0.9),
        ),
        StageConfig(
            name="speak", num_steps=1_700, shares={"speak": 1.0}, optim=optim(0.8, *SPEAKING, decay_share=0.75)
        ),
    )
    return replace(base, name="nano_again", train=replace(base.train, stages=stages))


RECIPES: dict[str, Callable[[], Recipe]] = {"nano": nano, "nano_again": nano_again, "nano_gpu": nano_gpu}
"""Recipes by the name that ``microturn train`` takes."""
