"""One kind of batch for every task: turns, and what is to be told where, by head.

A ``Row`` is one session with places counted in the session; ``collate`` puts rows side by side. Whatever is drawn at
random for a loss (noise, flow times, phases) is part of a row too, so a loss is a function of weights and batch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microturn.media.mel import MEL_BANDS, TURN_FRAMES
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.turns import LIKENESS_SIZE, PATCH_SHAPE, Turns, padded

# Shapes: B rows, T tokens, U turns, P targets, S speaking turns, V of them on which the velocity is told, F mel frames,
# M bands, H samples of a row, N patches.

PHONES_PER_TOKEN = 2
"""Phones that are told at an audio token."""


class Head(StrEnum):
    """What tells a target: a term of the loss."""

    WORDS = "words"
    """Hearing stack: the hear lane, at every audio token."""
    VOICE = "voice"
    """Hearing stack: whether somebody speaks, at every audio token."""
    PHONES = "phones"
    """Some of the hearing layers: two phones of every audio token. In training alone."""
    SAY = "say"
    """Backbone: words to say, acts and ends of turns."""
    PHASES = "phases"
    """The lower layers of the backbone: how far a repetition is. In training alone."""
    GUESS = "guess"
    """Flow head: coarse frames of every speaking turn."""
    FLOW = "flow"
    """Flow head: the velocity, on some of them."""
    SPECTRUM = "spectrum"
    """Vocoder: magnitudes of several resolutions."""
    MEL = "mel"
    """Vocoder: log-mel of what it makes."""
    NOISE = "noise"
    """Vocoder: how likely the sound is as pulses in noise."""
    PITCH = "pitch"
    """Vocoder: pitch of voiced frames."""
    VOICING = "voicing"
    """Vocoder: whether a frame is voiced."""


PLACES_OF_TURN = {Head.WORDS: AUDIO_TOKENS, Head.VOICE: AUDIO_TOKENS, Head.PHONES: AUDIO_TOKENS * PHONES_PER_TOKEN}
"""Places that a turn has for what the hearing stack tells; what the backbone tells is told at tokens."""


@dataclass(frozen=True)
class Parts:
    """Dataclasses of tensors that are cut from rows and move to a device together."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor changed."""
        return replace(self, **{item.name: change(getattr(self, item.name)) for item in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Self], shifts: Mapping[str, Sequence[int]] | None = None) -> Self:
        """Parts one after the other; ``shifts`` names fields that hold places, with what each part's are moved by."""
        shifts = shifts or {}
        return cls(**{
            item.name: torch.cat([
                getattr(part, item.name) + (shifts[item.name][index] if item.name in shifts else 0)
                for index, part in enumerate(parts)
            ])
            for item in fields(cls)
        })  # fmt: skip


@dataclass(frozen=True)
class Targets(Parts):
    """Values to be told at places, each with the weight of its loss."""

    at_P: Tensor
    """Flat places: of (B, T), or of (B, U, places of a turn) for what the hearing stack tells."""
    value_P: Tensor
    weight_P: Tensor

    @classmethod
    def of(cls, told: Sequence[tuple[int, int, float]]) -> Targets:
        """From (place, value, weight)."""
        at, value, weight = zip(*told, strict=True) if told else ((), (), ())
        return cls(
            torch.tensor(at, dtype=torch.int64),
            torch.tensor(value, dtype=torch.int64),
            torch.tensor(weight, dtype=torch.float32),
        )


@dataclass(frozen=True)
class MelTargets(Parts):
    """The frames that the flow head makes for speaking turns, normalised."""

    at_S: Tensor
    """The tokens (flat) after which they are made."""
    mel_SFM: Tensor
    last_mel_SFM: Tensor
    """Those of the turn before, as the model will have made them."""
    flow_V: Tensor
    """Which of the speaking turns the velocity is told on."""
    noise_VFM: Tensor
    time_V: Tensor
    """Flow time, 0 (noise) to 1 (frames)."""


@dataclass(frozen=True)
class WaveTargets(Parts):
    """The sound that the vocoder makes of frames."""

    mel_BFM: Tensor
    """As a flow head may make them."""
    wave_BH: Tensor
    """F hops of samples, late by the vocoder's delay."""
    log_pitch_BF: Tensor
    """Natural log of Hz."""
    voiced_BF: Tensor
    """0 or 1."""
    phase_B: Tensor
    """Where the pulses begin, cycles, double."""
    position_B: Tensor
    """Where the vocoder's noise begins, samples."""


@dataclass(frozen=True)
class Batch:
    """Turns with targets; ``task`` names where they come from, for the figures."""

    task: str
    turns: Turns
    targets: dict[Head, Targets]
    mel: MelTargets | None
    wave: WaveTargets | None
    renamed_B: Tensor
    """How far in the alphabet the letters are moved that are said."""
    totals: dict[Head, float]
    """Sum of the weights of all targets, by head: what a mean over them divides by."""

    def to(self, device: torch.device) -> Batch:
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In memory from which a GPU copies while it computes (``DataLoader`` calls this)."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            turns=Turns(**{name: change(value) for name, value in vars(self.turns).items()}),
            targets={head: targets.mapped(change) for head, targets in self.targets.items()},
            mel=None if self.mel is None else self.mel.mapped(change),
            wave=None if self.wave is None else self.wave.mapped(change),
            renamed_B=change(self.renamed_B),
        )


class Patch(NamedTuple):
    """A patch that is shown at a token."""

    at: int
    pixels: NDArray[np.uint8]
    """(40, 40, 6), see ``likeness.Seen``."""
    likeness: NDArray[np.float32]


@dataclass
class Row:
    """One session; what a task does not have stays empty. Places are those of this row alone."""

    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 5), np.int64))
    """(T, 5): kind, source, payload, unit, slot."""
    sound: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """``Sound`` of every turn, (U,)."""
    levels: NDArray[np.uint8] | None = None
    """What is heard, (U, 20, 80); None where the words are given."""
    patches: list[Patch] = field(default_factory=list)
    targets: dict[Head, Targets] = field(default_factory=dict)
    mel: MelTargets | None = None
    wave: WaveTargets | None = None
    renamed: int = 0
    """How far in the alphabet the letters are moved that are said, so that no word is spelt as it always is."""

    @property
    def num_turns(self) -> int:
        return len(self.sound)


def collate(task: str, rows: Sequence[Row], width: int, num_turns: int) -> Batch:
    """Rows of one task as a batch of ``width`` tokens and ``num_turns`` turns a row; padding comes last."""
    targets = {}
    for head in Head:
        stride = num_turns * PLACES_OF_TURN[head] if head in PLACES_OF_TURN else width
        told = [(index * stride, row.targets[head]) for index, row in enumerate(rows) if head in row.targets]
        if told:
            targets[head] = Targets.joined([part for _, part in told], {"at_P": [first for first, _ in told]})
    mel = _mel_targets(rows, width)
    waves = [row.wave for row in rows if row.wave is not None]
    wave = WaveTargets.joined(waves) if waves else None
    renamed = torch.tensor([row.renamed for row in rows])
    return Batch(task, _turns(rows, width, num_turns), targets, mel, wave, renamed, _totals(targets, mel, wave))


def _mel_targets(rows: Sequence[Row], width: int) -> MelTargets | None:
    found = [(index * width, row.mel) for index, row in enumerate(rows) if row.mel is not None]
    if not found:
        return None
    counts = [len(part.at_S) for _, part in found]
    before = [sum(counts[:index]) for index in range(len(counts))]
    return MelTargets.joined([part for _, part in found], {"at_S": [first for first, _ in found], "flow_V": before})


def _totals(targets: dict[Head, Targets], mel: MelTargets | None, wave: WaveTargets | None) -> dict[Head, float]:
    totals = {head: float(part.weight_P.sum()) for head, part in targets.items()}
    if mel is not None:
        totals |= {Head.GUESS: float(len(mel.at_S)), Head.FLOW: float(len(mel.flow_V))}
    if wave is not None:
        num_rows, num_frames = map(float, wave.voiced_BF.shape)
        totals |= dict.fromkeys((Head.SPECTRUM, Head.MEL, Head.NOISE), num_rows)
        totals |= {Head.PITCH: float(wave.voiced_BF.sum()), Head.VOICING: num_rows * num_frames}
    return totals


def _turns(rows: Sequence[Row], width: int, num_turns: int) -> Turns:
    tokens, valid = padded([row.tokens for row in rows], width)
    kind, source, payload, unit, slot = tokens.unbind(-1)
    heard = any(row.levels is not None for row in rows)
    patches = [patch for row in rows for patch in row.patches]
    patch_at = [index * width + patch.at for index, row in enumerate(rows) for patch in row.patches]
    pixels, likeness = [patch.pixels for patch in patches], [patch.likeness for patch in patches]
    return Turns(
        start_B=torch.zeros(len(rows), dtype=torch.int64),
        kind_BT=kind,
        source_BT=source,
        payload_BT=payload,
        unit_BT=unit,
        slot_BT=slot,
        valid_BT=valid,
        sound_BU=_by_turn([row.sound for row in rows], np.int64, num_turns),
        levels_BUFM=_by_turn([row.levels for row in rows], np.uint8, num_turns * heard, TURN_FRAMES, MEL_BANDS),
        patch_NPPC=torch.from_numpy(np.stack(pixels) if patches else np.zeros((0, *PATCH_SHAPE), np.uint8)),
        likeness_NL=torch.from_numpy(np.stack(likeness) if patches else np.zeros((0, LIKENESS_SIZE), np.float32)),
        patch_at_N=torch.tensor(patch_at, dtype=torch.int64),
    )


def _by_turn(arrays: Sequence[NDArray[np.generic] | None], dtype: type[np.generic], *shape: int) -> Tensor:
    """What is known of each row's turns in one table (B, ...), zeros after it."""
    table = np.zeros((len(arrays), *shape), dtype)
    for row, array in zip(table, arrays, strict=True):
        if array is not None:
            row[: len(array)] = array
    return torch.from_numpy(table)
