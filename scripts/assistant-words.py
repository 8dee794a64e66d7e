"""How the assistant's words should be made: word errors of independent recognisers in sentences put together from
words that Kokoro said alone, in lists, or in the middle of three, with silence to a turn's edge or drawn out to it; how
far pitch differs from word to word; and what the packaged vocoder loses. About fifteen minutes of one core.

    python scripts/assistant-words.py [SENTENCES]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from microturn.bench.heard import cheapest
from microturn.bench.sound import padded, recognise
from microturn.bench.spoken import sentences
from microturn.media.mel import TURN_FRAMES, log_mel, normalise_mel
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.model.weights import load
from microturn.scenario.script import ASSISTANT_TAIL_MS, SAMPLES_PER_MS, assistant_speech, fluent_speech, trimmed
from microturn.train.voice import track_pitch
from microturn.turn import TURN_SAMPLES, Pcm
from microturn.voices import moonshine
from microturn.voices.assistant import AFTER, BEFORE, RATE, assistant_voice, word_pcm
from microturn.voices.catalogue import synthesise
from microturn.voices.people import plain_transcript

LIST_WORDS = 14


def in_lists(words: list[str]) -> dict[str, Pcm]:
    """Fourteen words at a time."""
    cut: dict[str, Pcm] = {}
    for first in range(0, len(words), LIST_WORDS):
        text = ", ".join((BEFORE, *words[first : first + LIST_WORDS], AFTER))
        speech = synthesise(assistant_voice(), text, rate=RATE)
        for word in speech.words[1:-1]:
            start, end = (round(edge_ms * SAMPLES_PER_MS) for edge_ms in (word.start_ms, word.end_ms))
            pcm = speech.pcm[start:end]
            cut[word.text] = pcm * np.float32(0.5 / np.abs(pcm).max())
    return cut


def with_silence(pcm: Pcm) -> Pcm:
    """A word and the silence to a turn's edge."""
    num_turns = -(-(len(pcm) + round(ASSISTANT_TAIL_MS * SAMPLES_PER_MS)) // TURN_SAMPLES)
    return np.pad(pcm, (0, num_turns * TURN_SAMPLES - len(pcm)))


@torch.inference_mode()
def through(vocoder: Vocoder, pcm: Pcm) -> Pcm:
    mel, state = torch.from_numpy(normalise_mel(log_mel(pcm)))[None], vocoder.initial_state(1)
    pieces = []
    for frame in range(0, mel.shape[1], TURN_FRAMES):
        wave, state = vocoder.step(mel[:, frame : frame + TURN_FRAMES], state)
        pieces.append(wave[0].numpy())
    return np.concatenate(pieces)


def main() -> None:
    texts = sentences()[: int(sys.argv[1]) if len(sys.argv) > 1 else None]
    words = list(dict.fromkeys(word for text in texts for word in text.split()))
    total = sum(len(text.split()) for text in texts)

    def show(name: str, say: Callable[[str], Pcm]) -> None:
        with ThreadPoolExecutor(1) as workers:
            found = recognise([padded(say(text)) for text in texts], None, workers)
        wrong = sum(
            cheapest(text.split(), [word.text for word in one])[0] for text, one in zip(texts, found, strict=True)
        )
        print(f"{name}: {wrong / total:.1%} word errors by PocketSphinx", flush=True)
        if moonshine.installed():
            found_too = [plain_transcript(moonshine.transcript(padded(say(text)))) for text in texts]
            wrong = sum(cheapest(text.split(), list(one))[0] for text, one in zip(texts, found_too, strict=True))
            print(f"  {wrong / total:.1%} by Moonshine", flush=True)

    def show_words(name: str, said: dict[str, Pcm]) -> None:
        pitches = [track_pitch(said[word], VocoderConfig()) for word in words if len(said[word]) > TURN_SAMPLES // 2]
        means = [12 * log_pitch[voiced > 0].mean() / np.log(2) for log_pitch, voiced in pitches if voiced.sum() > 5]
        show(name, lambda text: np.concatenate([with_silence(said[word]) for word in text.split()]))
        turns = np.mean([len(with_silence(said[word])) // TURN_SAMPLES for word in words])
        print(f"  {turns:.2f} turns a word; pitch differs by {np.std(means):.2f} semitones from word to word")

    show("whole sentences", lambda text: fluent_speech(text).pcm)
    alone = {word: trimmed(synthesise(assistant_voice(), word, rate=RATE), 0.0).pcm for word in words}
    show_words("alone", alone)
    show_words("in lists", in_lists(words))
    middle = {word: word_pcm(word) for word in words}
    show_words("in the middle of three", middle)
    show("the same, drawn out to turns' edges", lambda text: assistant_speech(text).pcm)
    vocoder = load("nano").weights.vocoder
    show("the same, mel through the vocoder", lambda text: through(vocoder, assistant_speech(text).pcm))


if __name__ == "__main__":
    main()
