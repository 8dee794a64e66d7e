"""What a session remembers of pictures: the newest one, and small ones of the last ten seconds, and what it compares.

How alike a picture is to each of those before it tells a repetition whatever it is that moves: Dwibedi et al. 2020,
"Counting out time: class agnostic video repetition counting in the wild", section 3 (temporal self-similarity). Here
it is one row of that matrix, of the pixels themselves, and comes with every patch of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microturn.model.rows import Rows
from microturn.model.turns import LIKENESS_TURNS, PATCH_PIXELS

# Shapes: R rows, N patches of a picture, P pixels of a patch's side (40), C channels, K turns looked back, S values of
# a small picture.

SMALLER = 4
"""So many pixels across make one of a small picture."""
LEAST_DIFFERENCE = 0.01
"""Of the range of a pixel, root mean square: what differs less is noise of the camera."""


@dataclass(frozen=True)
class PictureState(Rows):
    """The pictures of R sessions."""

    newest_RNPPC: Tensor
    """uint8."""
    small_RKS: Tensor
    """uint8; that of turn t lies at t modulo K."""
    turn_RK: Tensor
    """The turns of the small pictures, -1 where there is none; the newest picture is among them or too old."""
    seen_R: Tensor
    """Whether there was any picture."""


@dataclass(frozen=True)
class Seen:
    """What the eye gets of a turn's pictures."""

    patches_RNPPC: Tensor
    """uint8 (R, N, 40, 40, 6): patches beside those of the picture before, or themselves if there was none."""
    likeness_RL: Tensor
    """See ``likeness``."""


def initial_picture_state(num_patches: int, rows: int, device: torch.device | None = None) -> PictureState:
    """Of ``rows`` sessions that have seen nothing."""
    patch = (num_patches, PATCH_PIXELS, PATCH_PIXELS, 3)
    small = num_patches * (PATCH_PIXELS // SMALLER) ** 2 * 3
    return PictureState(
        newest_RNPPC=torch.zeros(rows, *patch, dtype=torch.uint8, device=device),
        small_RKS=torch.zeros(rows, LIKENESS_TURNS, small, dtype=torch.uint8, device=device),
        turn_RK=torch.full((rows, LIKENESS_TURNS), -1, dtype=torch.int64, device=device),
        seen_R=torch.zeros(rows, dtype=torch.bool, device=device),
    )


def looked(state: PictureState, patches_RNPPC: Tensor, turn_R: Tensor) -> tuple[Seen, PictureState]:
    """What is seen of the uint8 pictures (R, N, 40, 40, C) of turns ``turn_R``, and what is remembered then."""
    small_RS = _smaller(patches_RNPPC)
    before = torch.where(state.seen_R[:, None, None, None, None], state.newest_RNPPC, patches_RNPPC)
    seen = Seen(torch.cat([patches_RNPPC, before], -1), likeness(state, small_RS, turn_R))
    place_K = torch.arange(LIKENESS_TURNS, device=turn_R.device)
    is_place_RK = place_K == turn_R[:, None] % LIKENESS_TURNS
    after = replace(
        state,
        newest_RNPPC=patches_RNPPC,
        small_RKS=torch.where(is_place_RK[..., None], small_RS[:, None], state.small_RKS),
        turn_RK=torch.where(is_place_RK, turn_R[:, None], state.turn_RK),
        seen_R=torch.ones_like(state.seen_R),
    )
    return seen, after


def likeness(state: PictureState, small_RS: Tensor, turn_R: Tensor) -> Tensor:
    """How a picture of turn t differs from those of turns t - 1 to t - K: (R, 2 K + 1).

    First the differences (root mean square; 0: the same picture) as shares of the greatest one, then which of the turns
    had a picture, then the logarithm of the greatest one.
    """
    differs_RK = (small_RS[:, None].float() - state.small_RKS.float()).square().mean(-1).sqrt() / 255.0
    turn_before_RK = turn_R[:, None] - 1 - torch.arange(LIKENESS_TURNS, device=turn_R.device)
    place_RK = turn_before_RK % LIKENESS_TURNS
    is_there_RK = (state.turn_RK.gather(1, place_RK) == turn_before_RK) & (turn_before_RK >= 0)
    differs_RK = differs_RK.gather(1, place_RK) * is_there_RK
    greatest_R1 = differs_RK.amax(1, keepdim=True).clamp(min=LEAST_DIFFERENCE)
    return torch.cat([differs_RK / greatest_R1, is_there_RK.float(), greatest_R1.log()], 1)


def _smaller(patches_RNPPC: Tensor) -> Tensor:
    """Patches as small pictures, uint8 (R, S): means of ``SMALLER`` by ``SMALLER`` pixels."""
    rows, num, pixels, _, channels = patches_RNPPC.shape
    side = pixels // SMALLER
    grid = patches_RNPPC.float().reshape(rows, num, side, SMALLER, side, SMALLER, channels)
    return grid.mean((3, 5)).round().to(torch.uint8).flatten(1)
