"""What the hearing stack writes of whole sounds, many at once: the hear lane without the rest of the model.

A session computes the same turn by turn (the parity tests hold it to that), but a turn at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from microturn.bench.events import SaidWord, lane_words
from microturn.language.tokenizer import TextTokenizer
from microturn.media.mel import MEL_BANDS, TURN_FRAMES, dmel_levels, log_mel
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.hearing import NO_WORD, Hearing, initial_hearing_state
from microturn.turn import TURN_SAMPLES, Pcm

# Shapes: B rows, F mel frames, M bands, U turns.

ROWS_AT_ONCE = 16


@torch.inference_mode()
def hear(hearing: Hearing, tokenizer: TextTokenizer, sounds: Sequence[Pcm]) -> list[list[SaidWord]]:
    """The words written in each of ``sounds``, with the turns in which they are written; a last part of a sound that is
    shorter than a turn is not heard.

    Rows of like length are heard together. What is written depends on nothing later, so the silence that fills up the
    shorter ones changes nothing.
    """
    num_turns = [len(sound) // TURN_SAMPLES for sound in sounds]
    order = sorted((index for index, count in enumerate(num_turns) if count), key=lambda index: num_turns[index])
    found: list[list[SaidWord]] = [[] for _ in sounds]
    device = hearing.gap.device
    for first in range(0, len(order), ROWS_AT_ONCE):
        chosen = order[first : first + ROWS_AT_ONCE]
        longest = num_turns[chosen[-1]]
        levels_BFM = np.zeros((len(chosen), longest * TURN_FRAMES, MEL_BANDS), np.uint8)
        for row, index in enumerate(chosen):
            mel = log_mel(sounds[index][: num_turns[index] * TURN_SAMPLES])
            levels_BFM[row, : len(mel)] = dmel_levels(mel)
        arrived_BU = torch.ones(len(chosen), longest, dtype=torch.bool, device=device)
        state = initial_hearing_state(hearing.config, len(chosen), device)
        hidden, _, _ = hearing(torch.from_numpy(levels_BFM).to(device), arrived_BU, state)
        written = hearing.written(hidden).cpu().reshape(len(chosen), longest, AUDIO_TOKENS).tolist()
        for index, turns in zip(chosen, written, strict=True):
            ids = ([token for token in tokens if token != NO_WORD] for tokens in turns[: num_turns[index]])
            found[index] = lane_words(enumerate(map(tokenizer.decode, ids)))
    return found
