"""Learning to hear: words and phones from sound, every 100 ms, by cross-entropy.

Every audio token has one target among the text tokens or none: a word is written ``HEAR_LAG_MS`` after its end, by one
token (or several in a row, if it is spelt in pieces). Beside it two phones, one for each 50 ms, are read after some of
the layers: they are known from the first step on, while words take long to be anything but none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from microturn.errors import InputError
from microturn.language.tokenizer import TextTokenizer
from microturn.media.mel import MEL_BANDS, TURN_FRAMES, dmel_levels, log_mel
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.turns import Sound
from microturn.scenario.listening import Listening, ListeningConfig, Practice
from microturn.scenario.scenario import HEAR_LAG_MS
from microturn.train.augment import augment_user
from microturn.train.batch import PHONES_PER_TOKEN, Head, Row, Targets
from microturn.train.tasks import Draw, Materials, RowSource
from microturn.turn import TURN_MS
from microturn.voices.phones import phone_row
from microturn.voices.speech import Speech, Word

# Shapes: U turns, T audio tokens.

TOKEN_MS = TURN_MS // AUDIO_TOKENS
PHONE_MS = TOKEN_MS // PHONES_PER_TOKEN
"""A phone is told for so much sound, and so long after it: without any lag the newest frames are too few."""


@dataclass(frozen=True, kw_only=True)
class ListeningRows:
    """Listening practice (``scenario.listening``)."""

    config: ListeningConfig = field(default_factory=ListeningConfig)

    def open(self, materials: Materials) -> Draw:
        """Raises ``InputError`` without a voice bank, or if it has nothing of the split."""
        if materials.bank is None:
            raise InputError("listening practice needs a voice bank")
        listening = Listening(materials.bank, materials.split, self.config, materials.data)

        def draw(rng: np.random.Generator, uses: int) -> list[Row]:
            return practice_rows(listening.draw(rng), materials, rng, uses)

        return draw

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        """The sources of utterances that the bank has."""
        if materials.bank is None:
            return {}
        try:
            sources = Listening(materials.bank, materials.split, self.config).sources
        except InputError:
            return {}
        alone = (replace(self.config, source_shares={source: 1.0}, other_share=0.0) for source in sources)
        return {source: ListeningRows(config=config) for source, config in zip(sources, alone, strict=True)}


def practice_rows(practice: Practice, materials: Materials, rng: np.random.Generator, uses: int) -> list[Row]:
    """The rows of a session of practice, for as many uses: the same words and phones, the sound changed at random."""
    mel = log_mel(practice.user)
    num_turns = len(mel) // TURN_FRAMES
    mel = mel.reshape(num_turns, TURN_FRAMES, MEL_BANDS)
    arrived = np.ones(num_turns, bool)
    arrived[list(practice.gaps)] = False
    words = [word for word in practice.words if not lost(word, practice.gaps)]
    count = num_turns * AUDIO_TOKENS
    phones = phone_targets(Speech(practice.user, tuple(words)), count)
    targets = {
        Head.WORDS: _everywhere(word_targets(words, materials.tokenizer, count)),
        Head.VOICE: _everywhere((phones[:, -1] != 0).astype(np.int64)),
        Head.PHONES: _everywhere(phones.flatten()),
    }
    sound: NDArray[np.int64] = np.where(arrived, int(Sound.QUIET), int(Sound.GAP))
    rows = []
    for _ in range(uses):
        levels = dmel_levels(mel if materials.augment is None else augment_user(mel, rng, materials.augment))
        levels[~arrived] = 0
        rows.append(Row(sound=sound, levels=levels, targets=targets))
    return rows


def word_targets(words: Iterable[Word], tokenizer: TextTokenizer, num_tokens: int) -> NDArray[np.int64]:
    """The text token to be written at every audio token, (T,), the vocabulary's size where there is none.

    There is room for one at a token: what does not fit goes into the next, and what comes after the end is left out.
    """
    targets = np.full(num_tokens, tokenizer.vocab_size, np.int64)
    free = 0
    for word in sorted(words, key=lambda word: word.end_ms):
        free = max(free, int((word.end_ms + HEAR_LAG_MS) // TOKEN_MS))
        for token in tokenizer.encode_word(word.text):
            if free < num_tokens:
                targets[free] = token
            free += 1
    return targets


def phone_targets(speech: Speech, num_tokens: int) -> NDArray[np.int64]:
    """The phones to be told at every audio token, (T, 2), 0 where nothing is said: those of ``PHONE_MS`` before."""
    sounding = phone_row(speech, PHONE_MS, num_tokens * PHONES_PER_TOKEN - 1)
    return np.concatenate([[0], sounding.astype(np.int64)]).reshape(-1, PHONES_PER_TOKEN)


def lost(word: Word, gaps: Collection[int]) -> bool:
    """Whether a third of the word or more did not arrive, if nothing of the turns ``gaps`` did."""
    first, last = int(word.start_ms // TURN_MS), int(word.end_ms // TURN_MS)
    missing_ms = sum(
        min(word.end_ms, (turn + 1) * TURN_MS) - max(word.start_ms, turn * TURN_MS)
        for turn in range(first, last + 1)
        if turn in gaps
    )
    return missing_ms >= (word.end_ms - word.start_ms) / 3


def _everywhere(values: NDArray[np.int64]) -> Targets:
    return Targets.of([(place, int(value), 1.0) for place, value in enumerate(values)])
