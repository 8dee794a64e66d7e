"""Words written once, somewhere near their places: the loss of the hear lane.

When a word ends is known to a token or two: of people's words by loudness alone. Cross-entropy with one exact place
spreads a word over its neighbours until none is likelier than nothing, or several are. So each word has a window, and
what is asked for is that it is written at one place of it and nothing at all others, all choices of the place added up:
connectionist temporal classification (Graves et al. 2006) held to windows. Windows share no place, so the sum is a
product over words, and their order is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

# Shapes: B rows, T places, O outputs (the last one: nothing), W places of a window.

OFFSETS = (-1, 0, 1)
"""Where a word may be written, in tokens from its label, in order."""


@dataclass(frozen=True)
class WrittenOnce:
    """What a lane of words makes of its labels, (B, T)."""

    loss_BT: Tensor
    """Its sum is that of the words; where a word may be elsewhere, single values say little."""
    word_BT: Tensor
    """Where labels are."""
    right_BT: Tensor
    """Labels whose word is written in its window, by the rule of decoding."""
    which_BT: Tensor
    """Labels whose word would be, if one had to be written."""
    written_BT: Tensor
    """Where a word is written."""


def written_once(scores_BTO: Tensor, label_BT: Tensor) -> WrittenOnce:
    """Scores against labels; where there is none, the label is the output for nothing."""
    nothing = scores_BTO.shape[-1] - 1
    log_BTO = scores_BTO.float().log_softmax(-1)
    word_BT = label_BT < nothing
    owned_BTW = _owned(word_BT)
    # At every place the labels around it, told all at once: each gather alone has a gradient as large as the scores.
    around_BTW = F.pad(label_BT, (OFFSETS[-1], -OFFSETS[0])).unfold(1, len(OFFSETS), 1)
    told_BTW = log_BTO.gather(-1, torch.cat([around_BTW, torch.full_like(around_BTW[..., :1], nothing)], -1))
    nothing_BT = told_BTW[..., -1]
    ahead_BTW = F.pad(told_BTW[..., :-1].flip(-1), (0, 0, -OFFSETS[0], OFFSETS[-1]))
    of_word_BTW = torch.stack(
        [ahead_BTW[:, place : place + label_BT.shape[1], place] for place in range(len(OFFSETS))], -1
    )
    gain_BTW = of_word_BTW - _near(nothing_BT)
    # A sum of nothing has no gradient, so where there is no label there is none to be summed.
    gain_BT = gain_BTW.masked_fill(~owned_BTW & word_BT.unsqueeze(-1), -torch.inf).logsumexp(-1)
    with torch.no_grad():
        written_BT = nothing_BT < log(0.5)
        same_BTW = owned_BTW & (_near(log_BTO[..., :nothing].argmax(-1)) == label_BT.unsqueeze(-1))
        surest_BT1 = _near(nothing_BT).masked_fill(~owned_BTW, torch.inf).argmin(-1, keepdim=True)
    return WrittenOnce(
        loss_BT=-nothing_BT - torch.where(word_BT, gain_BT, 0.0),
        word_BT=word_BT,
        right_BT=(same_BTW & _near(written_BT)).any(-1),
        which_BT=same_BTW.gather(-1, surest_BT1).squeeze(-1),
        written_BT=written_BT,
    )


def _near(x_BT: Tensor, beyond: int = 0) -> Tensor:
    """What lies at the places around each, (B, T, W); past the ends it is ``beyond``."""
    return F.pad(x_BT, (-OFFSETS[0], OFFSETS[-1]), value=beyond).unfold(1, len(OFFSETS), 1)


def _owned(word_BT: Tensor) -> Tensor:
    """Which places around a label are its own, (B, T, W): of several labels the nearest has a place, the earlier one of
    two as near."""
    num_places = word_BT.shape[1]
    offset_BT = torch.full(word_BT.shape, OFFSETS[-1] + 1, device=word_BT.device)
    for offset in sorted(OFFSETS, key=lambda offset: (-abs(offset), offset)):
        first, last = max(0, offset), num_places + min(0, offset)
        offset_BT[:, first:last].masked_fill_(word_BT[:, first - offset : last - offset], offset)
    near_BTW = _near(offset_BT, OFFSETS[-1] + 1)
    return (near_BTW == torch.tensor(OFFSETS, device=word_BT.device)) & word_BT.unsqueeze(-1)
