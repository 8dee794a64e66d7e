"""The assistant's voice for the vocoder: many short texts in it, and the training run that learns its sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.scenario.lexicon import CONTENT, LETTERS
from microturn.scenario.sentences import plain_sentence
from microturn.scenario.voices import assistant_voice, synthesise
from microturn.train.vocoder import VocoderTraining, VoiceClip, train_vocoder, voice_clip

NUM_TEXTS = 1200
PITCH_RANGE = (0.9, 1.12)
RATE_RANGE = (0.85, 1.2)


def voice_clips(config: VocoderConfig, num_texts: int = NUM_TEXTS, seed: int = 0) -> list[VoiceClip]:
    """Utterances of the assistant: words, letters and sentences, half of them at another pitch and rate.

    Raises ``VoiceError`` if the assistant's voice is not installed.
    """
    rng = np.random.default_rng(seed)
    voice = assistant_voice()
    clips = []
    for _ in range(num_texts):
        kind = rng.random()
        if kind < 0.4:
            text = plain_sentence(rng, "train")
        elif kind < 0.9:
            text = " ".join(str(word) for word in rng.choice(CONTENT, int(rng.integers(2, 7))))
        else:
            text = " ".join(f"{letter}." for letter in rng.choice(LETTERS, int(rng.integers(2, 7))))
        plain = rng.random() < 0.5
        rate = 1.0 if plain else float(rng.uniform(*RATE_RANGE))
        pitch = 1.0 if plain else float(rng.uniform(*PITCH_RANGE))
        clips.append(voice_clip(synthesise(voice, text, rate=rate, pitch=pitch).pcm, config))
    return clips


def train_voice(folder: Path, console: Console) -> Vocoder:
    """The default vocoder, trained in ``folder`` (``vocoder.pt`` there is gone on with), with a progress bar."""
    config, training = VocoderConfig(), VocoderTraining()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("vocoder", total=training.num_steps)

        def report(step: int, losses: dict[str, float]) -> None:
            bar.update(task, completed=step, description=f"vocoder: loss {sum(losses.values()):.3f}")

        return train_vocoder(voice_clips(config), config, training, report, folder / "vocoder.pt")
