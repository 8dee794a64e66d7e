"""The same figures from the sound alone: what an independent recogniser understands of what was said.

Every run of speaking turns is cut out and recognised with the family's vocabulary. The recognised words, at the times
at which they are heard, are then scored like the words of the say lane. The recogniser makes mistakes of its own, so
each text is also recognised in the assistant voice's own synthesis: the ratio of the two is the figure that counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from microturn.bench.events import Said, SaidWord
from microturn.bench.recogniser import RecognisedWord, Recogniser, dictionary
from microturn.language.lexicon import CONTENT, LETTERS, NUMBERS
from microturn.language.wordings import GREETINGS
from microturn.scenario.script import fluent_speech
from microturn.turn import TURN_MS, TURN_SAMPLES, Pcm, TurnOutput

CLIPS_PER_TASK = 24

Clip = tuple[Said, Pcm]
"""Something said and its sound."""
Vocabularies = tuple[tuple[str, ...], ...]
"""Each utterance is made of the words (or fixed phrases) of one of them."""


@dataclass(frozen=True)
class SoundScore:
    """Of ``num_runs`` things said, how many the recogniser understood as the say lane has them, and how many of the
    same texts it understands when the assistant's voice is synthesised. Shares in [0, 1]."""

    num_runs: int
    understood: float
    understood_synthesis: float

    @property
    def ratio(self) -> float | None:
        """``None`` when the recogniser understands none of the synthesis."""
        return self.understood / self.understood_synthesis if self.understood_synthesis else None


def clips_of(said: Iterable[Said], outputs: Sequence[TurnOutput]) -> list[Clip]:
    """The sounding runs of one session, each with a turn after it in which the sound may die away."""
    return [
        (run, np.concatenate([one.audio for one in outputs[run.first_turn : run.first_turn + run.num_turns + 1]]))
        for run in said
        if run.num_turns
    ]


def vocabularies(family: str, expected: Iterable[str]) -> Vocabularies:
    """What may be said in sessions of ``family``: its kinds of content and the words of ``expected`` texts."""
    greetings = tuple(sorted(GREETINGS))
    words = {word for text in expected if text not in greetings for word in text.split()}
    if family == "count":
        return (tuple(sorted({*NUMBERS, *words})),)
    content = tuple(sorted({*CONTENT, *words} - set(LETTERS)))
    return (content, LETTERS, greetings) if family == "say" else (content,)


def recognise(sounds: Sequence[Pcm], vocabulary: Vocabularies, workers: Executor) -> list[list[RecognisedWord]]:
    """The words in every sound, on all of ``workers``; the same whatever their number."""
    tasks = [sounds[start : start + CLIPS_PER_TASK] for start in range(0, len(sounds), CLIPS_PER_TASK)]
    return [words for task in workers.map(_recognise_some, tasks, [vocabulary] * len(tasks)) for words in task]


def _recognise_some(sounds: Sequence[Pcm], vocabulary: Vocabularies) -> list[list[RecognisedWord]]:
    recogniser = Recogniser(vocabulary)
    return [recogniser.recognise(pcm) for pcm in sounds]


def hear_clips(clips: Sequence[Clip], vocabulary: Vocabularies, workers: Executor) -> list[Said]:
    """The runs of ``clips`` with the recognised words."""
    words = recognise([pcm for _, pcm in clips], vocabulary, workers)
    return [recognised_run(run, found) for (run, _), found in zip(clips, words, strict=True)]


def recognised_run(run: Said, words: Iterable[RecognisedWord]) -> Said:
    """``run`` with the recognised words in the turns in which they start."""
    last = max(0, run.num_turns - 1)
    heard = (SaidWord(word.text, run.first_turn + min(last, int(word.start_ms // TURN_MS))) for word in words)
    return Said(run.first_turn, run.num_turns, tuple(heard))


def score_sound(runs: Sequence[Said], heard: Sequence[Said], vocabulary: Vocabularies, workers: Executor) -> SoundScore:
    """Compare the runs' words with the words heard, and with those heard in the assistant's synthesis of them.

    Runs without words, and runs with a word that the recogniser cannot pronounce (an invented one), are never
    understood; for the latter, nor is their synthesis. Raises ``VoiceError`` if the assistant's voice is not installed.
    """
    wanted = Counter(run.text for run in runs if run.words)
    texts = sorted(text for text in wanted if all(word in dictionary() for word in text.split()))
    synthesis = [padded(fluent_speech(spoken_text(text)).pcm) for text in texts]
    found = dict(zip(texts, recognise(synthesis, vocabulary, workers), strict=True))
    right = sum(wanted[text] for text in texts if " ".join(word.text for word in found[text]) == text)
    understood = sum(bool(run.words) and run.text == other.text for run, other in zip(runs, heard, strict=True))
    total = max(1, len(runs))
    return SoundScore(len(runs), understood / total, right / total)


def spoken_text(text: str) -> str:
    """``text`` for the synthesiser: several single letters are the names of letters, with their full stops."""
    words = text.split()
    spelled = len(words) > 1 and all(word in LETTERS for word in words)
    return " ".join(f"{word}." for word in words) if spelled else text


def padded(pcm: Pcm) -> Pcm:
    """``pcm`` up to a whole number of turns and one more, as a run of turns is cut out."""
    turns = -(-len(pcm) // TURN_SAMPLES) + 1
    return np.concatenate([pcm, np.zeros(turns * TURN_SAMPLES - len(pcm), np.float32)])
