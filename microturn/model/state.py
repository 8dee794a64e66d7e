"""Everything that a batch of sessions remembers, as tensors with one row a session."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microturn.media.mel import HISTORY_SAMPLES, MEL_BANDS, TURN_FRAMES
from microturn.model.config import ModelConfig
from microturn.model.flow import SILENT_MEL
from microturn.model.hearing import HearingState, initial_hearing_state
from microturn.model.lanes import LaneState, initial_lane_state
from microturn.model.likeness import PictureState, initial_picture_state
from microturn.model.memory import MemoryState, initial_memory
from microturn.model.rows import Rows
from microturn.model.turns import End
from microturn.model.vocoder import Vocoder, VocoderState

MAX_WAITING_TOKENS = 1024
"""Tokens of text that may wait to be taken in."""
FLUSH_TURNS = 1
"""Turns after speech in which the vocoder still sounds (its delay is shorter than a turn)."""


@dataclass(frozen=True)
class State(Rows):
    """The memory of R sessions."""

    turn_R: Tensor
    """Index of the next turn."""
    ended_R: Tensor
    """How the last turn ended (``turns.End``)."""
    seed_R: Tensor
    """With the turn's index it gives the noise of a turn's sound."""
    history_RS: Tensor
    """The last samples of the user's sound, which the next frames' windows reach into."""
    hearing: HearingState
    lanes: LaneState
    memory: MemoryState
    vocoder: VocoderState
    mel_RFM: Tensor
    """Normalised frames of the model's last turn; silence if it did not speak."""
    quiet_R: Tensor
    """Turns since the model last spoke."""
    pictures: PictureState
    waiting_RW: Tensor
    """Text tokens that are still to be taken in, the oldest first."""
    waiting_source_RW: Tensor
    num_waiting_R: Tensor


def initial_state(config: ModelConfig, vocoder: Vocoder, rows: int, seeds: list[int], device: torch.device) -> State:
    """Sessions in which nothing has happened yet."""

    def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(rows, *shape, dtype=dtype, device=device)

    state = State(
        turn_R=zeros(),
        ended_R=zeros() + End.START,
        seed_R=torch.tensor(seeds, device=device),
        history_RS=zeros(HISTORY_SAMPLES, dtype=torch.float32),
        hearing=initial_hearing_state(config.hearing, rows, device),
        lanes=initial_lane_state(rows, config.backbone.lane_words, device),
        memory=initial_memory(config, rows, device),
        vocoder=vocoder.initial_state(rows),
        mel_RFM=zeros(TURN_FRAMES, MEL_BANDS, dtype=torch.float32) + SILENT_MEL,
        quiet_R=zeros() + FLUSH_TURNS + 1,
        pictures=initial_picture_state(config.num_patches, rows, device),
        waiting_RW=zeros(MAX_WAITING_TOKENS),
        waiting_source_RW=zeros(MAX_WAITING_TOKENS),
        num_waiting_R=zeros(),
    )
    # No two tensors share their memory: rows are written in place (``Rows.overwrite``).
    return state.mapped(lambda _, tensor: tensor.clone())
