"""Words heard right: the hear lane against what was really said, by kind of voice.

What was written is aligned with what was said (Levenshtein, the cheapest alignment), over all sessions of a group: in
running speech every word counts, wherever it was written. Two figures come of it: the share of the words said that were
written, and the words written that nobody said. Words that sound alike ("two", "to") count as different.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from microturn.bench.events import lane_words
from microturn.bench.systems import SessionSource
from microturn.errors import VoiceError
from microturn.language.lexicon import UNSEEN
from microturn.scenario.families import FAMILIES
from microturn.scenario.scenario import Scenario
from microturn.scenario.script import Script
from microturn.turn import TurnOutput
from microturn.voices.catalogue import Voice, kokoro_voices, voices

SEEN_ENGINE = "unseen voices of a seen engine"
UNSEEN_ENGINE = "voices of an unseen engine"
UNSEEN_STYLES = "unseen styles of kokoro"
UNSEEN_WORDS = "words never trained on"

HELDOUT_ENGINE = "festival"
VOICE_STRIDE = 41


@dataclass(frozen=True)
class HeardScore:
    """Of ``said`` words, ``words`` are asked for, of which ``right`` were written; and ``unsaid`` words were written
    that nobody said."""

    words: int
    right: int
    said: int
    unsaid: int

    @property
    def share_right(self) -> float:
        """Share of the words asked for that were written, in [0, 1]."""
        return self.right / max(1, self.words)

    @property
    def unsaid_share(self) -> float:
        """Words written that nobody said, over all words said."""
        return self.unsaid / max(1, self.said)

    def __add__(self, other: HeardScore) -> HeardScore:
        words, right = self.words + other.words, self.right + other.right
        return HeardScore(words, right, self.said + other.said, self.unsaid + other.unsaid)


NOTHING_SAID = HeardScore(0, 0, 0, 0)


@dataclass(frozen=True)
class HeardResult:
    """One row of the table: one system and one group of voices."""

    group: str
    system: str
    score: HeardScore


def groups(num_sessions: int) -> dict[str, list[SessionSource]]:
    """The sessions of every group of synthesised voices: ``num_sessions``, or a quarter where they are slow to make or
    say little. Raises ``VoiceError`` if the unseen engine or Kokoro is not installed."""
    heldout, styles = voices("heldout"), kokoro_voices("heldout")
    seen = tuple(voice for voice in heldout if voice.engine != HELDOUT_ENGINE)
    unseen = tuple(voice for voice in heldout if voice.engine == HELDOUT_ENGINE)
    for engine, found in ((HELDOUT_ENGINE, unseen), ("kokoro", styles)):
        if not found:
            raise VoiceError(f"an engine of unseen voices ({engine}) is not installed: run `make voices`")
    few = range(max(1, num_sessions // 4))
    return {
        SEEN_ENGINE: [partial(_free_speech, seen, index) for index in range(num_sessions)],
        UNSEEN_STYLES: [partial(_free_speech, styles, index) for index in few],
        UNSEEN_ENGINE: [partial(_free_speech, unseen, index) for index in range(num_sessions)],
        UNSEEN_WORDS: [partial(_unseen_words, seen, index) for index in few],
    }


def _free_speech(choices: Sequence[Voice], index: int) -> list[Scenario]:
    """``free`` in held-out wordings."""
    script = _script(SEEN_ENGINE, choices, index)
    FAMILIES["free"](script)
    return _finished(script)


def _unseen_words(choices: Sequence[Voice], index: int) -> list[Scenario]:
    """Runs of words that training never had."""
    script = _script(UNSEEN_WORDS, choices, index)
    for _ in range(3):
        script.pause(300.0, 1200.0)
        words = script.rng.choice(UNSEEN, int(script.rng.integers(1, 5)), replace=False)
        script.speak(" ".join(str(word) for word in words))
    return _finished(script)


def _script(name: str, choices: Sequence[Voice], index: int) -> Script:
    """The voice is found by a stride over ``choices``, so that few sessions too have many kinds of voices."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), index])
    script = Script(rng, "heldout", voice=choices[index * VOICE_STRIDE % len(choices)], assistant=False)
    script.kind = "free"
    return script


def _finished(script: Script) -> list[Scenario]:
    # Without gaps: a lost word is nobody's error.
    return [script.finish("free", tail_ms=1000.0, gap_probability=0.0)]


def score_heard(scenario: Scenario, outputs: Iterable[TurnOutput]) -> HeardScore:
    """One session: the words of the hear lane against the words said, both in order."""
    words = lane_words((output.turn, output.hear) for output in outputs)
    return score_words([word.text for word in scenario.heard], [word.text for word in words])


def score_words(truth: Sequence[str], written: Sequence[str], asked: Collection[str] | None = None) -> HeardScore:
    """``written`` against ``truth``; only the words in ``asked`` are asked for (``None``: all)."""
    right = aligned(truth, written)
    counted = [asked is None or word in asked for word in truth]
    num_right = sum(counted[place] for place in right)
    return HeardScore(sum(counted), num_right, said=len(truth), unsaid=len(written) - len(right))


def trivial_answers(
    said: Sequence[Sequence[str]], asked: Collection[str] | None = None
) -> list[tuple[str, HeardScore]]:
    """Names and scores of the trivial answers to all that was ``said``: nothing, and the word asked for that is said
    most often, as often as there are words."""
    counts = Counter(word for words in said for word in words if asked is None or word in asked)
    answers: list[tuple[str, list[str]]] = [("nothing", [])]
    if counts:
        word = min(counts, key=lambda word: (-counts[word], word))
        answers.append((f'always "{word}"', [word]))
    return [
        (name, sum((score_words(words, answer * len(words), asked) for words in said), NOTHING_SAID))
        for name, answer in answers
    ]


def aligned(truth: Sequence[str], written: Sequence[str]) -> tuple[int, ...]:
    """Places in ``truth`` of the words that are written right, by the cheapest alignment; of several alignments that
    are the cheapest, one with the most words right."""
    return cheapest(truth, written)[1]


def cheapest(truth: Sequence[str], written: Sequence[str]) -> tuple[int, tuple[int, ...]]:
    """The cheapest alignment: how many words are wrong, left out or added, and ``aligned``."""
    # row[j]: cost, minus the words right, and their places, of truth so far against written[:j]
    row: list[tuple[int, int, tuple[int, ...]]] = [(j, 0, ()) for j in range(len(written) + 1)]
    for i, word in enumerate(truth):
        previous, row = row, [(i + 1, 0, ())]
        for j, other in enumerate(written, start=1):
            cost, wrong, places = previous[j - 1]
            both = (cost, wrong - 1, (*places, i)) if word == other else (cost + 1, wrong, places)
            left_out = (previous[j][0] + 1, *previous[j][1:])
            added = (row[j - 1][0] + 1, *row[j - 1][1:])
            row.append(min(both, left_out, added))
    return row[-1][0], row[-1][2]
