"""The same figures from the sound alone: what an independent recogniser understands of what was said.

Every run of speaking turns is cut out and recognised with the family's vocabulary. The recognised words, at the times
at which they are heard, are then scored like the words of the say lane. The recogniser makes mistakes of its own, so
each text is also recognised in the assistant voice's own synthesis: the ratio of the two is the figure that counts.

The recogniser is PocketSphinx (Huggins-Daines et al. 2006, "PocketSphinx: a free, real-time continuous speech
recognition system for hand-held devices") with the US English model that its wheel brings. Its grammar is a loop over
the words that may be said, so it does not know what is expected, only the vocabulary. It knows isolated words of the
assistant's own voice at about 80 % from a loop of 400 words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from microturn.bench.events import Said, SaidWord
from microturn.errors import InputError
from microturn.language.common import DICTIONARY, LANGUAGE_MODEL, dictionary, pocketsphinx_folder
from microturn.language.lexicon import CONTENT, LETTERS, NUMBERS
from microturn.language.wordings import GREETINGS
from microturn.scenario.script import fluent_speech
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm, TurnOutput

CLIPS_PER_TASK = 24
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
PRONUNCIATIONS = {
    "chatterbox": "CH AE T ER B AA K S", "henny": "HH EH N IY", "kaliko": "K AE L IH K OW",
    "refraction": "R IH F R AE K SH AH N", "snowboy": "S N OW B OY", "tocino": "T OW S IY N OW",
    "yoghurt": "Y OW G ER T",
}  # fmt: skip
"""Words that the dictionary does not have."""

Clip = tuple[Said, Pcm]
"""Something said and its sound."""
Vocabularies = tuple[tuple[str, ...], ...]
"""Each utterance is made of the words (or fixed phrases) of one of them."""


@dataclass(frozen=True)
class RecognisedWord:
    """One word and where its sound starts, from the first sample."""

    text: str
    start_ms: float


class Recogniser:
    """Recognises utterances: each is made of words, or fixed phrases, of one of ``vocabularies`` (lower case), any
    number in any order; or of any English words, as its language model has them.

    Raises ``InputError`` when pocketsphinx is not installed, or when its dictionary does not have a word.
    """

    def __init__(self, vocabularies: Sequence[Iterable[str]] | None) -> None:
        groups = [sorted(set(entries)) for entries in vocabularies or ()]
        unknown = {word for group in groups for entry in group for word in entry.split()} - pronounceable()
        if unknown or (vocabularies is not None and not (groups and all(groups))):
            raise InputError(f"the recogniser cannot pronounce {', '.join(sorted(unknown)) or 'an empty vocabulary'}")
        folder = pocketsphinx_folder()
        from pocketsphinx import Decoder

        self._decoder = Decoder(
            hmm=str(folder / "en-us"),
            dict=str(folder / DICTIONARY),
            lm=None if groups else str(folder / LANGUAGE_MODEL),
            samprate=SAMPLE_RATE_HZ,
            # A looping grammar's lattice takes minutes to search.
            bestpath=not groups,
            # Each utterance is normalised by itself, whatever was heard before.
            cmn="batch",
            **({"wip": WORD_INSERTION_PENALTY} if groups else {}),
            silprob=SILENCE_PROBABILITY,
            loglevel="FATAL",
        )
        if not groups:
            return
        for word, phones in PRONUNCIATIONS.items():
            self._decoder.add_word(word, phones, update=True)
        loops = " | ".join(f"({' | '.join(group)})+" for group in groups)
        self._decoder.add_jsgf_string("words", f"#JSGF V1.0;\ngrammar words;\npublic <words> = {loops};\n")
        self._decoder.activate_search("words")

    def recognise(self, pcm: Pcm) -> list[RecognisedWord]:
        """Words in ``pcm`` ``(samples,)`` at 16 kHz, in order; none when nothing was understood."""
        loud = np.flatnonzero(np.abs(pcm) >= SILENT_PEAK)
        if not len(loud):
            return []
        pad = np.zeros(PAD_SAMPLES, np.int16)
        # The decoder keeps the last frame's best densities: silence brings it to the same state before every utterance.
        self._decode(pad)
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


def pronounceable() -> frozenset[str]:
    """The words that the recogniser can pronounce. Raises ``InputError`` when pocketsphinx is not installed."""
    return dictionary() | PRONUNCIATIONS.keys()


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


def recognise(sounds: Sequence[Pcm], vocabulary: Vocabularies | None, workers: Executor) -> list[list[RecognisedWord]]:
    """The words in every sound, on all of ``workers``; the same whatever their number."""
    tasks = [sounds[start : start + CLIPS_PER_TASK] for start in range(0, len(sounds), CLIPS_PER_TASK)]
    return [words for task in workers.map(_recognise_some, tasks, [vocabulary] * len(tasks)) for words in task]


def _recognise_some(sounds: Sequence[Pcm], vocabulary: Vocabularies | None) -> list[list[RecognisedWord]]:
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
    texts = sorted(text for text in wanted if pronounceable().issuperset(text.split()))
    synthesis = [padded(fluent_speech(spoken_text(text)).pcm) for text in texts]
    found = [" ".join(word.text for word in words) for words in recognise(synthesis, vocabulary, workers)]
    right = sum(wanted[text] for text, words in zip(texts, found, strict=True) if words == text)
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
    return np.concatenate([pcm, np.zeros(-len(pcm) % TURN_SAMPLES + TURN_SAMPLES, np.float32)])
