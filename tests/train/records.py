"""Small records with something to learn: two 'words' that differ in their mel bands, heard and repeated."""

from __future__ import annotations

import msgspec
import numpy as np

from microturn.model.mel import LOG_FLOOR, MEL_BANDS, TURN_FRAMES
from microturn.scenario.corpus import Record, encode_frame, mel_to_bytes

WORDS = ("red", "blue")


def make_records(count: int, seed: int = 0) -> list[Record]:
    """Sessions of 14 turns: a word is heard, and two turns later said by the model."""
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(count):
        word = int(rng.integers(2))
        turn = int(rng.integers(2, 7))
        user = np.full((14, TURN_FRAMES, MEL_BANDS), LOG_FLOOR, np.float32)
        user[turn, :, 30 * word : 30 * word + 25] = -8.0
        user += rng.normal(0, 0.3, user.shape).astype(np.float32)
        model = np.full((1, TURN_FRAMES, MEL_BANDS), LOG_FLOOR, np.float32)
        model[0, :, 60 - 30 * word : 80 - 30 * word] = -6.0
        records.append(
            Record(
                family="say",
                num_turns=14,
                user_mel=mel_to_bytes(user),
                speaking=[turn + 2],
                model_mel=mel_to_bytes(model),
                hear={turn: [WORDS[word]]},
                say={turn + 2: [WORDS[word]]},
                texts={},
                frames={},
                gaps=[],
                unlabelled=[],
            )
        )
    return records


def without_sound(record: Record) -> Record:
    """The same session as a rehearsal has it."""
    return msgspec.structs.replace(record, user_mel=b"", gaps=list(range(record.num_turns)))


def blinking(count: int) -> list[Record]:
    """Videos without a figure whose phase is how bright they are."""
    rng = np.random.default_rng(0)
    records = []
    for _ in range(count):
        phases = {turn: int(rng.integers(6)) for turn in range(12)}
        frames = {turn: encode_frame(np.full((80, 80, 3), 40 * phase, np.uint8)) for turn, phase in phases.items()}
        gaps = list(range(12))
        records.append(Record("watching", 12, b"", [], b"", {}, {}, {}, frames, gaps, [], phases))
    return records
