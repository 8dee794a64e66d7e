"""Turns as tensors: the one value that training, streaming and serving give to the network.

    in    TEXT_IN *  typed text, instructions, what jobs and tools bring
          PATCH *    the picture of this turn, if there is one
          HEAR *     what the user said, as the hearing stack wrote it in this turn
          NOW        the turn is complete: how the last one ended, what is heard now
    out   SAY *      0..4
          ACT        0..1
          then <listen> or <speak>, which the next turn's NOW carries

The first output token is predicted at NOW, each further one at the token before it. A silent turn is one token. Slots
are fixed by kind, so that the second rotary axis always sees the same kind at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.media.mel import MEL_BANDS, TURN_FRAMES
from microturn.turn import MAX_HEAR_TOKENS, MAX_SAY_TOKENS, TextSource

# Shapes: B rows, T tokens, U turns, F mel frames of a turn, M mel bands, N patches, P pixels of a side, C colours.


class Kind(IntEnum):
    """What a token of the sequence is."""

    NOW = 0
    TEXT_IN = 1
    PATCH = 2
    HEAR = 3
    SAY = 4
    ACT = 5


class Source(IntEnum):
    """Where a token comes from."""

    SELF = 0
    SPOKEN = 1
    TYPED = 2
    INSTRUCTIONS = 3
    JOB = 4
    TOOL = 5


SOURCE_OF_TEXT = {source: Source[source.name] for source in TextSource}


class Sound(IntEnum):
    """What a turn's sound is: nothing arrived, nobody speaks at its end, somebody does."""

    GAP = 0
    QUIET = 1
    VOICE = 2


class End(IntEnum):
    """How a turn ended; the payload of the next turn's NOW."""

    START = 0
    LISTEN = 1
    SPEAK = 2


MAX_TEXT_IN_TOKENS = 16
"""Tokens of text that one turn takes in; longer texts wait for the next turns."""
MAX_TURN_TOKENS = 32
"""Tokens of a pass are padded to so many at most."""
SLOT_NOW = 0
SLOT_HEAR = 1
SLOT_SAY = SLOT_HEAR + MAX_HEAR_TOKENS
SLOT_ACT = SLOT_SAY + MAX_SAY_TOKENS
SLOT_PATCH = 16
SLOT_TEXT_IN = 32
NUM_SLOTS = SLOT_TEXT_IN + MAX_TEXT_IN_TOKENS
PATCH_PIXELS = 40
PATCH_SHAPE = (PATCH_PIXELS, PATCH_PIXELS, 6)
"""A patch of the picture beside the same patch of the picture before it."""
LIKENESS_TURNS = 50
"""A picture is compared with those of so many turns before it."""
LIKENESS_SIZE = 2 * LIKENESS_TURNS + 1
"""See ``likeness.likeness``."""

Token = tuple[int, int, int, int]
"""(kind, source, payload, slot)."""


@dataclass(frozen=True)
class Turns:
    """Turns of B rows: U turns each, in T tokens.

    ``payload`` is a text id, how the last turn ended (NOW), an act's index or a patch's place. Sounds and patches are
    levels and pixels.
    """

    start_B: Tensor
    """Index of each row's first turn."""
    kind_BT: Tensor
    source_BT: Tensor
    payload_BT: Tensor
    unit_BT: Tensor
    """Which of the U turns a token belongs to."""
    slot_BT: Tensor
    valid_BT: Tensor
    """False for padding, which comes last."""
    sound_BU: Tensor
    """``Sound`` of each turn."""
    levels_BUFM: Tensor
    """uint8 dMel levels of the user's sound (B, U, 20, 80); silence where nothing arrived. U is 0 when the words are
    given: then there is nothing to hear."""
    patch_NPPC: Tensor
    """uint8 (N, 40, 40, 6)."""
    likeness_NL: Tensor
    """How alike each patch's picture is to those before it."""
    patch_at_N: Tensor
    """Where each patch's token lies in (B, T), flat."""

    @property
    def turn_BT(self) -> Tensor:
        return self.start_B[:, None] + self.unit_BT

    def to(self, device: torch.device) -> Turns:
        return Turns(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


def input_tokens(
    texts: Sequence[tuple[Source, int]], num_patches: int, heard: Sequence[int], ended: End
) -> list[Token]:
    """The tokens that come in during one turn: text ids with their sources, a picture's patches, words heard, NOW."""
    tokens = [(Kind.TEXT_IN, source, index, SLOT_TEXT_IN + place) for place, (source, index) in enumerate(texts)]
    tokens += [(Kind.PATCH, Source.SELF, place, SLOT_PATCH + place) for place in range(num_patches)]
    tokens += [(Kind.HEAR, Source.SPOKEN, index, SLOT_HEAR + place) for place, index in enumerate(heard)]
    return [*tokens, (Kind.NOW, Source.SELF, ended, SLOT_NOW)]


def say_token(index: int, place: int) -> Token:
    """Word ``index`` as the ``place``-th that is said in its turn."""
    return (Kind.SAY, Source.SELF, index, SLOT_SAY + place)


def act_token(index: int) -> Token:
    return (Kind.ACT, Source.SELF, index, SLOT_ACT)


def padded(rows: Sequence[NDArray[np.int64]], width: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens (T, 5) of different lengths as (B, width, 5), and which of them are valid (B, width)."""
    tokens = np.zeros((len(rows), width, 5), np.int64)
    valid = np.zeros((len(rows), width), bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
        if len(row):
            tokens[index, len(row) :] = row[-1]  # padding calls for no experts of its own
        valid[index, : len(row)] = True
    return torch.from_numpy(tokens), torch.from_numpy(valid)


def no_levels(rows: int) -> Tensor:
    """Levels of no turn at all, (B, 0, 20, 80)."""
    return torch.zeros(rows, 0, TURN_FRAMES, MEL_BANDS, dtype=torch.uint8)


def no_patches() -> tuple[Tensor, Tensor, Tensor]:
    """Patches, their likeness and their places, none of them."""
    patches = torch.zeros(0, *PATCH_SHAPE, dtype=torch.uint8)
    return patches, torch.zeros(0, LIKENESS_SIZE), torch.zeros(0, dtype=torch.int64)
