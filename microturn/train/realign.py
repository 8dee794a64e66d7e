"""Words of people's sentences placed anew, by the phones that the network hears.

A bank's sentences begin with the times of a synthesised reading stretched to fit (``voices.align``), of which one in
five is wrong by more than 200 ms. After some thousand steps the network itself knows better (docs/log.md), and what
fits its words badly has been written down wrongly.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from microturn.media.mel import MEL_BANDS, dmel_levels, log_mel
from microturn.model.hearing import initial_hearing_state
from microturn.train.hear import PHONE_MS
from microturn.train.learner import Learner
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm
from microturn.voices.bank import UNFINISHED, Part, part_folders, write_part
from microturn.voices.forced import word_spans
from microturn.voices.people import ALIGNED_WORDS
from microturn.voices.phones import PHONES, pronunciation
from microturn.voices.speech import Speech, Word

# Shapes: N pieces of ``PHONE_MS``, P phones.

_, ANEW, OLD = UNFINISHED
LEAD_TURNS, TAIL_TURNS = 1, 2
NOISE_RMS = 3e-4
"""Around an utterance the network hears this much noise, as of a microphone."""
LEAST_FIT = -3.2
"""Utterances whose words' phones are less likely in the mean (of logarithms) are left out."""
NOWHERE = -9.0
"""What a word counts in that mean that is nowhere."""
SHORTEST_MS = 40.0


def realign(bank: Path, learner: Learner) -> None:
    """Rewrite the parts of ``bank`` that have people's sentences."""
    learner.eval()
    for anew in bank.glob(f"people-*{ANEW}"):  # whole, and left by a run that was killed
        if not (folder := anew.with_name(anew.name.removesuffix(ANEW))).exists():
            anew.rename(folder)
    for folder in part_folders(bank, "people-*"):
        part = Part(folder)
        if not any(len(utterance.words) >= ALIGNED_WORDS for utterance in part.utterances):
            continue
        anew, old = (folder.with_name(folder.name + ending) for ending in (ANEW, OLD))
        for left in (anew, old):
            shutil.rmtree(left, ignore_errors=True)
        write_part(anew, _realigned(part, learner))
        folder.rename(old)
        anew.rename(folder)
        shutil.rmtree(old)


def _realigned(part: Part, learner: Learner) -> Iterator[tuple[str, str, Speech]]:
    for index, utterance in enumerate(part.utterances):
        speech = part.speech(index)
        found = placed(speech, learner) if len(utterance.words) >= ALIGNED_WORDS else speech
        if found is not None:
            yield utterance.source, utterance.speaker, found


def placed(speech: Speech, learner: Learner) -> Speech | None:
    """The same with its words where the network hears their phones; ``None`` if it hears others."""
    pronunciations = [pronunciation(word.text) for word in speech.words]
    spans = word_spans(heard_phones(speech.pcm, learner), pronunciations)
    if sum(span.mean_log if span else NOWHERE for span in spans) < LEAST_FIT * len(spans):
        return None
    words: list[Word] = []
    end_ms, length_ms = 0.0, len(speech.pcm) * 1000 / SAMPLE_RATE_HZ
    for word, span in zip(speech.words, spans, strict=True):
        first_ms = last_ms = end_ms  # what is nowhere is said in no time after the word before it
        if span is not None:
            first_ms, last_ms = (piece * PHONE_MS - LEAD_TURNS * TURN_MS for piece in (span.first, span.after))
        start_ms = min(max(first_ms, end_ms), length_ms - SHORTEST_MS)
        end_ms = min(max(last_ms, start_ms + SHORTEST_MS), length_ms)
        words.append(Word(word.text, start_ms, end_ms))
    return Speech(speech.pcm, tuple(words))


@torch.no_grad()
def heard_phones(pcm: Pcm, learner: Learner) -> NDArray[np.float32]:
    """Logarithms of how likely every phone is at every time, (N, P), from ``LEAD_TURNS`` before (samples,) on."""
    num_turns = LEAD_TURNS + -(-len(pcm) // TURN_SAMPLES) + TAIL_TURNS
    sound = np.random.default_rng(0).normal(0.0, NOISE_RMS, num_turns * TURN_SAMPLES).astype(np.float32)
    first = LEAD_TURNS * TURN_SAMPLES
    sound[first : first + len(pcm)] += pcm
    hearing = learner.network.hearing
    device = hearing.gap.device
    levels = torch.from_numpy(dmel_levels(log_mel(sound))).view(1, -1, MEL_BANDS).to(device)
    arrived = torch.ones(1, num_turns, dtype=torch.bool, device=device)
    state = initial_hearing_state(hearing.config, 1, device)
    _, probed, _ = hearing(levels, arrived, state, learner.phone_layers)
    scores_NP = learner.phones(probed).float().view(-1, len(PHONES))
    # A phone is told one piece of time after its own.
    log_NP: NDArray[np.float32] = scores_NP.log_softmax(-1)[1:].cpu().numpy()
    return log_NP
