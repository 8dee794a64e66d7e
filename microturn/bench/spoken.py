"""How well any words are spoken: sentences that training does not have, given to the voice word by word, and what
independent recognisers that expect any English understand of them, beside the assistant voice's own synthesis.

PocketSphinx is thirty years of craft, Moonshine (where it is installed) a network of today: they differ in what they
forgive (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from microturn.bench.heard import cheapest
from microturn.bench.sound import RecognisedWord, padded, recognise
from microturn.media.mel import MEL_BANDS, TURN_FRAMES
from microturn.model.flow import SILENT_MEL
from microturn.model.lanes import NONE, SAID_TOKENS
from microturn.model.microturn import Microturn
from microturn.scenario.script import assistant_speech, fluent_speech
from microturn.turn import MAX_SAY_TOKENS, TURN_SAMPLES, Pcm
from microturn.voices import moonshine
from microturn.voices.people import plain_transcript

# Shapes: K tokens of the say lane, the newest first.

POCKETSPHINX, MOONSHINE = "PocketSphinx", "Moonshine"


@dataclass(frozen=True)
class SpokenScore:
    """Errors of a recogniser (substitutions, insertions, deletions) in the same sentences."""

    num_words: int
    errors: int
    """In our sound."""
    errors_fluent: int
    """In the assistant voice's synthesis of the sentence."""
    errors_by_word: int
    """In its synthesis word by word, which is what our voice is taught."""

    @property
    def ratio(self) -> float | None:
        """Our word error rate over that of the synthesis; ``None`` where that is 0."""
        return self.errors / self.errors_fluent if self.errors_fluent else None


@cache
def sentences() -> tuple[str, ...]:
    """Sentences of 5 to 12 common words."""
    return tuple(Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").split("\n")[:-1])


@torch.inference_mode()
def voiced(model: Microturn, text: str) -> Pcm:
    """``text`` in the voice of ``model``: every word lasts as many turns as in the synthesis, its tokens come as the
    grammar of a turn has them. Raises ``VoiceError`` if the assistant's voice is not installed."""
    flow, vocoder = model.network.flow, model.weights.vocoder
    said, ages = [NONE] * SAID_TOKENS, [0] * SAID_TOKENS
    mel, heard = torch.full((1, TURN_FRAMES, MEL_BANDS), SILENT_MEL), vocoder.initial_state(1)
    rng, pieces = np.random.default_rng(0), []
    for word in text.split():
        waiting = model.tokenizer.encode_word(word)
        for _ in range(len(assistant_speech(word).pcm) // TURN_SAMPLES):
            came, waiting = waiting[:MAX_SAY_TOKENS], waiting[MAX_SAY_TOKENS:]
            said = [*reversed(came), *said][:SAID_TOKENS]
            ages = [*[1] * len(came), *(age + 1 for age in ages)][:SAID_TOKENS]
            noise = torch.from_numpy(rng.standard_normal(mel.shape, dtype=np.float32))
            mel = flow.sample(flow.condition(torch.tensor([said]), torch.tensor([ages])), mel, noise).clamp(-2.0, 2.0)
            wave, heard = vocoder.step(mel, heard)
            pieces.append(wave[0].numpy())
    return np.concatenate(pieces)


def score_spoken(model: Microturn, workers: Executor, advance: Callable[[], None]) -> dict[str, SpokenScore]:
    """Score all ``sentences``, by recogniser. Raises ``VoiceError`` and ``InputError`` where the voice or PocketSphinx
    are missing."""
    texts = sentences()
    ours: list[Pcm] = []
    for text in texts:
        ours.append(padded(voiced(model, text)))
        advance()
    fluent = [padded(fluent_speech(text).pcm) for text in texts]
    by_word = [padded(assistant_speech(text).pcm) for text in texts]
    in_all = (ours, fluent, by_word)
    understood = {POCKETSPHINX: [[_texts(words) for words in recognise(sounds, None, workers)] for sounds in in_all]}
    if moonshine.installed():
        understood[MOONSHINE] = [
            [list(plain_transcript(moonshine.transcript(pcm))) for pcm in sounds] for sounds in in_all
        ]
    num_words = sum(len(text.split()) for text in texts)
    return {name: SpokenScore(num_words, *map(_errors, found)) for name, found in understood.items()}


def _texts(words: Iterable[RecognisedWord]) -> list[str]:
    return [word.text for word in words]


def _errors(understood: Iterable[list[str]]) -> int:
    """Of all sentences."""
    return sum(cheapest(text.split(), words)[0] for text, words in zip(sentences(), understood, strict=True))
