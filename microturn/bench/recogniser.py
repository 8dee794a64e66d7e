"""An independent recogniser that hears only the sound: pocketsphinx with a grammar of the words that may be said.

PocketSphinx (Huggins-Daines et al. 2006, "PocketSphinx: a free, real-time continuous speech recognition system for
hand-held devices") with the US English model that its wheel brings. The grammar is a loop over the words, so the
recogniser does not know what is expected, only the vocabulary. It knows isolated words of the assistant's own voice at
about 80 % from a loop of 400 words: its figure on our sound means something only beside that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from microturn.errors import InputError
from microturn.turn import SAMPLE_RATE_HZ, Pcm

if TYPE_CHECKING:
    from pocketsphinx import Decoder

FRAME_MS = 10
PAD_SAMPLES = SAMPLE_RATE_HZ * 3 // 10
"""Digital silence before and after an utterance: with less of it, with much more, or with noise instead, words are
lost."""
WORD_INSERTION_PENALTY = 1e-4
"""Without it the loop breaks long words into short ones; at 1e-8 nothing survives the beam."""
SILENCE_PROBABILITY = 0.1
SILENT_PEAK = 1e-3
"""What stays below this at either end is cut off. Sound that never reaches it is not given to the decoder, which finds
a word in digital silence now and then."""
PRONUNCIATIONS = {"snowboy": "S N OW B OY", "yoghurt": "Y OW G ER T"}
"""Words that the dictionary does not have."""


@dataclass(frozen=True)
class RecognisedWord:
    """One word and where its sound starts, from the first sample."""

    text: str
    start_ms: float


class Recogniser:
    """Recognises utterances: each is made of words, or fixed phrases, of one of ``vocabularies`` (lower case), any
    number in any order.

    Raises ``InputError`` when pocketsphinx is not installed, or when its dictionary does not have a word.
    """

    def __init__(self, vocabularies: Sequence[Iterable[str]]) -> None:
        groups = [sorted(set(entries)) for entries in vocabularies]
        unknown = [word for group in groups for entry in group for word in entry.split() if word not in dictionary()]
        if unknown or not groups or not all(groups):
            raise InputError(f"the recogniser cannot pronounce {', '.join(unknown) or 'an empty vocabulary'}")
        loops = " | ".join(f"({' | '.join(group)})+" for group in groups)
        self._decoder = _open_decoder()
        for word, phones in PRONUNCIATIONS.items():
            self._decoder.add_word(word, phones, update=True)
        self._decoder.add_jsgf_string("words", f"#JSGF V1.0;\ngrammar words;\npublic <words> = {loops};\n")
        self._decoder.activate_search("words")

    def recognise(self, pcm: Pcm) -> list[RecognisedWord]:
        """Words in ``pcm`` ``(samples,)`` at 16 kHz, in order; none when nothing was understood."""
        loud = np.flatnonzero(np.abs(pcm) >= SILENT_PEAK)
        if not len(loud):
            return []
        # The decoder keeps the last frame's best densities: silence brings it to the same state before every utterance.
        self._decode(np.zeros(PAD_SAMPLES, np.int16))
        pad = np.zeros(PAD_SAMPLES, np.int16)
        samples = np.clip(np.rint(pcm[loud[0] : loud[-1] + 1] * 32767.0), -32768, 32767).astype(np.int16)
        self._decode(np.concatenate([pad, samples, pad]))
        if self._decoder.hyp() is None:
            return []
        shift_ms = (int(loud[0]) - PAD_SAMPLES) * 1000.0 / SAMPLE_RATE_HZ
        return [
            RecognisedWord(segment.word.partition("(")[0], max(0.0, segment.start_frame * FRAME_MS + shift_ms))
            for segment in self._decoder.seg()
            if segment.word[0] not in "<[("
        ]

    def _decode(self, samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()


def _model_folder() -> Path:
    try:
        from pocketsphinx import get_model_path
    except ImportError as error:
        raise InputError("pocketsphinx is not installed: pip install 'microturn[bench]'") from error
    return Path(get_model_path("en-us"))


def _open_decoder() -> Decoder:
    folder = _model_folder()
    from pocketsphinx import Decoder

    return Decoder(
        hmm=str(folder / "en-us"),
        dict=str(folder / "cmudict-en-us.dict"),
        lm=None,
        samprate=SAMPLE_RATE_HZ,
        # A looping grammar's lattice takes minutes to search.
        bestpath=False,
        # Each utterance is normalised by itself, whatever was heard before.
        cmn="batch",
        wip=WORD_INSERTION_PENALTY,
        silprob=SILENCE_PROBABILITY,
        loglevel="FATAL",
    )


@cache
def dictionary() -> frozenset[str]:
    """The words that the recogniser can pronounce. Raises ``InputError`` when pocketsphinx is not installed."""
    text = (_model_folder() / "cmudict-en-us.dict").read_text(encoding="utf-8")
    words = {line.split(maxsplit=1)[0].partition("(")[0] for line in text.splitlines() if line}
    return frozenset(words | PRONUNCIATIONS.keys())
