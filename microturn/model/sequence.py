"""Turns as token sequences: the arrays that the model embeds, for whole sessions and for one turn alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.model import layout
from microturn.model.ear import HEARD_FRAMES
from microturn.model.eye import PATCH_SHAPE
from microturn.model.layout import Kind
from microturn.model.mel import MEL_BANDS, TURN_FRAMES

# Shapes: B rows, T tokens; N tokens of one kind in reading order (row by row, left to right).

_MEDIA = ((Kind.AUDIO, "audio", layout.AUDIO_TOKENS), (Kind.OWN, "own", 1), (Kind.PATCH, "patches", 1))
"""Kinds with media, where a builder keeps them, and how many tokens share an item."""
_TEXT_KIND_MASK = torch.tensor([kind in layout.TEXT_KINDS for kind in Kind])


@dataclass(frozen=True)
class Sequence:
    """A batch of token rows. ``payload`` is a text id (TEXT_IN: id + vocabulary size x source), what an END carries,
    an act's index or a patch's place; 0 for the other kinds. The media of AUDIO, OWN and PATCH tokens follow in
    reading order; the four AUDIO tokens of a turn share one item."""

    kind_BT: Tensor
    turn_BT: Tensor
    slot_BT: Tensor
    payload_BT: Tensor
    heard_BT: Tensor
    """Payload of the last HEAR or TEXT_IN token before each token; ``NONE`` if there was none."""
    said_BT: Tensor
    """Payload of the last SAY token before each token; ``NONE`` if there was none."""
    reply_BT: Tensor
    """How many tokens the model has said in the reply it is giving, each token's own included; 0 while it listens."""
    age_BT: Tensor
    """How many turns the newest word of that reply has lasted, each token's own turn included; 0 while it listens."""
    valid_BT: Tensor
    audio_NFM: Tensor
    """uint8 dMel levels (N, 30, 80) of turns with sound, see ``ear.with_context``."""
    own_NFM: Tensor
    """uint8 dMel levels (N, 20, 80)."""
    patch_NPPC: Tensor
    """uint8 (N, 40, 40, 6), see ``eye.with_before``."""

    @property
    def is_text_BT(self) -> Tensor:
        return _TEXT_KIND_MASK.to(self.kind_BT.device)[self.kind_BT] & self.valid_BT

    @property
    def word_BT(self) -> Tensor:
        """The word that a HEAR or TEXT_IN token is, as a payload; ``NONE`` for other tokens."""
        is_word = ((self.kind_BT == Kind.HEAR) | (self.kind_BT == Kind.TEXT_IN)) & self.valid_BT
        return torch.where(is_word, self.payload_BT, NONE)

    @property
    def newest_BT(self) -> Tensor:
        """The newest word heard at each token, its own included; ``NONE`` if there was none."""
        return torch.where(self.word_BT == NONE, self.heard_BT, self.word_BT)

    @property
    def before_BT(self) -> Tensor:
        """The user's word before each one; ``NONE`` for other tokens and for the first word."""
        return torch.where(self.word_BT == NONE, NONE, self.heard_BT)

    @property
    def newest_said_BT(self) -> Tensor:
        """The newest word said at each token, its own included; ``NONE`` if there was none."""
        return torch.where((self.kind_BT == Kind.SAY) & self.valid_BT, self.payload_BT, self.said_BT)

    @property
    def offset_BT(self) -> Tensor:
        """Time of each token since its turn's start, in turns: sound comes in during the turn."""
        offset = (self.slot_BT - layout.SLOT_AUDIO) / layout.AUDIO_TOKENS
        return offset * (self.kind_BT == Kind.AUDIO)


NONE = -1


@dataclass(frozen=True)
class LastWords:
    """Payloads of the newest words of either side, how many tokens of its reply the model has said, and the turn of the
    last of them."""

    heard: int = NONE
    said: int = NONE
    reply: int = 0
    said_turn: int = 0

    def age(self, turn: int) -> int:
        """How many turns the newest word of the reply has lasted, ``turn`` included; 0 while the model listens."""
        return min(turn - self.said_turn + 1, layout.MAX_AGE) if self.reply else 0


class SequenceBuilder:
    """Collects the tokens of one row, from a session's start or after the words ``last``."""

    def __init__(self, last: LastWords | None = None) -> None:
        self.last = last or LastWords()
        self.heard: list[int] = []
        self.said: list[int] = []
        self.reply: list[int] = []
        self.age: list[int] = []
        self.kinds: list[int] = []
        self.turns: list[int] = []
        self.slots: list[int] = []
        self.payloads: list[int] = []
        self.audio: list[NDArray[np.uint8]] = []
        self.own: list[NDArray[np.uint8]] = []
        self.patches: list[NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return len(self.kinds)

    def add(self, kind: Kind, turn: int, slot: int, payload: int = 0) -> None:
        self.heard.append(self.last.heard)
        self.said.append(self.last.said)
        if kind in (Kind.HEAR, Kind.TEXT_IN):
            self.last = replace(self.last, heard=payload)
        elif kind == Kind.SAY:
            place = min(self.last.reply + 1, layout.MAX_REPLY)
            self.last = replace(self.last, said=payload, reply=place, said_turn=turn)
        elif kind == Kind.END and payload != layout.END_SPEAK:
            self.last = replace(self.last, reply=0)
        self.reply.append(self.last.reply)
        self.age.append(self.last.age(turn))
        self.kinds.append(kind)
        self.turns.append(turn)
        self.slots.append(slot)
        self.payloads.append(payload)

    def part(self, start: int, stop: int) -> SequenceBuilder:
        """Tokens ``start`` to ``stop`` with their media; must not come between the AUDIO tokens of a turn."""
        if start == 0 and len(self) <= stop:
            return self
        part = SequenceBuilder()
        for name in ("kinds", "turns", "slots", "payloads", "heard", "said", "reply", "age"):
            setattr(part, name, getattr(self, name)[start:stop])
        for kind, name, per_item in _MEDIA:
            before, inside = self.kinds[:start].count(kind) // per_item, part.kinds.count(kind) // per_item
            setattr(part, name, getattr(self, name)[before : before + inside])
        return part

    def add_inputs(
        self,
        turn: int,
        end: int,
        own_levels: NDArray[np.uint8] | None,
        text_ids: list[int],
        patches: NDArray[np.uint8] | None,
        audio_levels: NDArray[np.uint8] | None,
    ) -> None:
        """One turn's input tokens in their order (see ``layout``).

        ``own_levels`` is (20, 80), ``audio_levels`` (30, 80) with context or None for a gap, ``patches``
        (P, 40, 40, 6) with the picture before.
        """
        self.add(Kind.END, turn, layout.SLOT_END, end)
        if own_levels is not None:
            self.add(Kind.OWN, turn, layout.SLOT_OWN)
            self.own.append(own_levels)
        for index, payload in enumerate(text_ids):
            self.add(Kind.TEXT_IN, turn, layout.SLOT_TEXT_IN + index % layout.NUM_TEXT_IN_SLOTS, payload)
        if patches is not None:
            for place, patch in enumerate(patches):
                self.add(Kind.PATCH, turn, layout.SLOT_PATCH + place, place)
                self.patches.append(patch)
        if audio_levels is None:
            self.add(Kind.GAP, turn, layout.SLOT_AUDIO)
        else:
            self.add_audio(turn, audio_levels)

    def add_audio(self, turn: int, levels: NDArray[np.uint8]) -> None:
        """The four AUDIO tokens of a turn; ``levels`` is (30, 80), see ``ear.with_context``."""
        for index in range(layout.AUDIO_TOKENS):
            self.add(Kind.AUDIO, turn, layout.SLOT_AUDIO + index)
        self.audio.append(levels)


def stack_rows(rows: list[SequenceBuilder], device: torch.device) -> Sequence:
    """Rows of different lengths to one batch, padded at the end with invalid END tokens."""
    length = max(1, max(len(row) for row in rows))

    def pad(values: list[list[int]]) -> Tensor:
        array = np.zeros((len(values), length), np.int64)
        for index, row in enumerate(values):
            array[index, : len(row)] = row
        return torch.from_numpy(array).to(device)

    valid = np.zeros((len(rows), length), bool)
    for index, row in enumerate(rows):
        valid[index, : len(row)] = True

    def media(parts: list[NDArray[np.uint8]], shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(np.stack(parts) if parts else np.zeros((0, *shape), np.uint8)).to(device)

    return Sequence(
        kind_BT=pad([row.kinds for row in rows]),
        turn_BT=pad([row.turns for row in rows]),
        slot_BT=pad([row.slots for row in rows]),
        payload_BT=pad([row.payloads for row in rows]),
        heard_BT=pad([row.heard for row in rows]),
        said_BT=pad([row.said for row in rows]),
        reply_BT=pad([row.reply for row in rows]),
        age_BT=pad([row.age for row in rows]),
        valid_BT=torch.from_numpy(valid).to(device),
        audio_NFM=media([part for row in rows for part in row.audio], (HEARD_FRAMES, MEL_BANDS)),
        own_NFM=media([part for row in rows for part in row.own], (TURN_FRAMES, MEL_BANDS)),
        patch_NPPC=media([part for row in rows for part in row.patches], PATCH_SHAPE),
    )
