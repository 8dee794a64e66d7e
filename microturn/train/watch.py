"""Learning to watch: the lower layers tell how far a repetition is, from pictures alone.

Rows hold nothing but PATCH tokens; at every picture's last one the phase of the repetition is read after the listening
layers (``scenario.watching``). The families say only now and then, and only by a number said, that a repetition is
over: a network that learnt from them alone was never sure of the first one (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from microturn.model import layout
from microturn.model.eye import frame_to_patches, with_before
from microturn.model.layout import Kind
from microturn.model.model import Network
from microturn.model.sequence import Sequence, SequenceBuilder, stack_rows
from microturn.scenario.corpus import Record, decode_frame
from microturn.train.augment import AugmentConfig, augment_frames

# Shapes: P predictions, C phases.


@dataclass(frozen=True)
class WatchingRow:
    """One record's pictures and the phase that each shows."""

    tokens: SequenceBuilder
    phases: list[int]


@dataclass(frozen=True)
class WatchingBatch:
    """Rows of PATCH tokens, and flat positions with the phases predicted."""

    sequence: Sequence
    predict_at_P: Tensor
    predict_P: Tensor


def can_be_watched(record: Record) -> bool:
    """Whether there are pictures whose phases are known."""
    return bool(record.phases)


def watching_row(
    record: Record, patch_rows: int, augment: AugmentConfig | None, rng: np.random.Generator
) -> WatchingRow:
    """The pictures of a record; turns without one are left out."""
    turns = sorted(record.phases)
    frames = np.stack([decode_frame(record.frames[turn]) for turn in turns])
    if augment is not None:
        frames = augment_frames(frames, rng)
    tokens = SequenceBuilder()
    before: NDArray[np.uint8] | None = None
    for turn, frame in zip(turns, frames, strict=True):
        shown = frame_to_patches(frame, patch_rows)
        for place, patch in enumerate(with_before(before, shown)):
            tokens.add(Kind.PATCH, turn, layout.SLOT_PATCH + place, place)
            tokens.patches.append(patch)
        before = shown
    return WatchingRow(tokens, [record.phases[turn] for turn in turns])


def collate_watching(rows: list[WatchingRow], num_patches: int, device: torch.device) -> WatchingBatch:
    """Rows to one batch on ``device``."""
    sequence = stack_rows([row.tokens for row in rows], device)
    length = sequence.kind_BT.shape[1]
    last = [torch.arange(1, len(row.phases) + 1) * num_patches - 1 + i * length for i, row in enumerate(rows)]
    phases = torch.tensor([phase for row in rows for phase in row.phases])
    return WatchingBatch(sequence, torch.cat(last).to(device), phases.to(device))


@dataclass(frozen=True)
class WatchingLosses:
    """A watching batch's loss; ``right_P`` tells which phases were right."""

    total: Tensor
    right_P: Tensor


def watching_losses(network: Network, batch: WatchingBatch) -> WatchingLosses:
    """Mean cross-entropy of the phases."""
    hidden_BTD = network.listen(batch.sequence)
    scores_PC = network.phases(hidden_BTD.flatten(0, 1)[batch.predict_at_P]).float()
    return WatchingLosses(F.cross_entropy(scores_PC, batch.predict_P), scores_PC.argmax(-1) == batch.predict_P)
