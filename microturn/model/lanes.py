"""What a token knows of the words before it: a short causal convolution over each side's words, and how old they are.

A token's neighbours in the sequence are mostly not words. To repeat, to follow a rule or to go on with a sentence one
must know which words came last, so every token gets the newest few of either side, mixed by place (an induction head
then needs one layer in place of two: Olsson et al. 2022). One vectorised function of (kind, source, payload) computes
it for whole sessions and for single turns; what a turn needs of earlier ones is ``LaneState``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from microturn.model.rows import Rows
from microturn.model.turns import End, Kind, Source, Turns

# Shapes: B rows, T tokens, K words.

NONE = -1
MAX_AGE = 8
"""Turns of a word that is being said are counted up to here."""
SAID_TOKENS = 8
"""So many of the newest tokens of what the model says are kept at least: a long word's, which is spelt by them."""
USER_TOKENS = 8
"""So many of the user's newest at least: a word that he wants spelt, and what he says after it."""
READ_TOKENS = 128
"""So many of the newest that nobody said at least: what a job has brought, while it is being read out."""


@dataclass(frozen=True)
class LaneState(Rows):
    """The words that R sessions' next tokens come after."""

    user_RK: Tensor
    """At least ``USER_TOKENS`` text ids of what the user said or typed, the newest first; ``NONE`` before the first."""
    model_RK: Tensor
    """At least ``SAID_TOKENS``."""
    read_RK: Tensor
    """At least ``READ_TOKENS`` of texts that nobody said: what jobs and tools bring, instructions."""
    read_turn_RK: Tensor
    """The turns in which they came in."""
    replying_R: Tensor
    """Whether the model is speaking."""
    said_turn_RK: Tensor
    """The turns of ``model``."""
    num_said_R: Tensor
    """Tokens that the model has said since it listened last."""

    def said_age(self, turn_R: Tensor) -> Tensor:
        """How many turns each of the model's newest tokens has lasted in turn ``turn``, that turn included (R, K); 0
        while it listens."""
        return _ages(turn_R, self.said_turn_RK, self.replying_R)


def initial_lane_state(rows: int, words: int, device: torch.device | None = None) -> LaneState:
    user_RK, unsaid_RK, read_RK = (
        torch.full((rows, max(words, least)), NONE, device=device) for least in (USER_TOKENS, SAID_TOKENS, READ_TOKENS)
    )
    return LaneState(
        user_RK=user_RK,
        model_RK=unsaid_RK,
        read_RK=read_RK,
        read_turn_RK=torch.zeros_like(read_RK),
        replying_R=torch.zeros(rows, dtype=torch.bool, device=device),
        said_turn_RK=torch.zeros_like(unsaid_RK),
        num_said_R=torch.zeros(rows, dtype=torch.int64, device=device),
    )


@dataclass(frozen=True)
class Lanes:
    """What every token knows of words: its own is the newest if it is one."""

    user_BTK: Tensor
    """At the tokens of a text that nobody said: that text's own, so that it can be repeated as the user's words can."""
    model_BTK: Tensor
    age_BTK: Tensor
    """How many turns each of the model's words has lasted, the token's own turn included; 0 while it listens."""
    after_BT: LaneState
    """The state after each token, (B, T, ...)."""

    def after(self, at_N: Tensor) -> LaneState:
        """The state after N of the tokens, which are counted through all rows."""
        return self.after_BT.mapped(lambda _, value: value.flatten(0, 1)[at_N])


def lanes(turns: Turns, state: LaneState) -> tuple[Lanes, LaneState]:
    """The lanes as each token of ``turns`` sees them, after those of ``state``; and the state after all of them."""
    kind, valid = turns.kind_BT, turns.valid_BT
    typed = (kind == Kind.TEXT_IN) & (turns.source_BT == Source.TYPED)
    is_read = (kind == Kind.TEXT_IN) & ~typed & valid
    is_user = ((kind == Kind.HEAR) | typed) & valid
    is_model = (kind == Kind.SAY) & valid
    place_T = torch.arange(kind.shape[1], device=kind.device)
    is_quiet = (kind == Kind.NOW) & (turns.payload_BT != End.SPEAK) & valid
    said_at = torch.where(is_model, place_T, -1).cummax(1).values
    quiet_at = torch.where(is_quiet, place_T, -1).cummax(1).values
    replying = torch.where(said_at == quiet_at, state.replying_R[:, None], said_at > quiet_at)
    said_BT = state.num_said_R[:, None] + is_model.cumsum(1)
    after_BT = LaneState(
        user_RK=_newest(is_user, turns.payload_BT, state.user_RK),
        model_RK=_newest(is_model, turns.payload_BT, state.model_RK),
        read_RK=_newest(is_read, turns.payload_BT, state.read_RK),
        read_turn_RK=_newest(is_read, turns.turn_BT, state.read_turn_RK),
        replying_R=replying,
        said_turn_RK=_newest(is_model, turns.turn_BT, state.said_turn_RK),
        num_said_R=said_BT - torch.where(is_quiet, said_BT, 0).cummax(1).values,
    )
    read_BTK = after_BT.read_RK[..., : after_BT.user_RK.shape[-1]]
    user_BTK = torch.where(is_read.unsqueeze(-1), read_BTK, after_BT.user_RK)
    age_BTK = _ages(turns.turn_BT, after_BT.said_turn_RK, replying)
    return Lanes(user_BTK, after_BT.model_RK, age_BTK, after_BT), after_BT.mapped(lambda _, value: value[:, -1])


def _ages(turn: Tensor, said_turn_K: Tensor, replying: Tensor) -> Tensor:
    return (turn.unsqueeze(-1) - said_turn_K + 1).clamp(0, MAX_AGE) * replying.unsqueeze(-1)


def _newest(is_word_BT: Tensor, payload_BT: Tensor, before_BK: Tensor) -> Tensor:
    """The newest K words at every token (B, T, K), the newest first."""
    words = before_BK.shape[1]
    count_BT = is_word_BT.cumsum(1)
    end = words + is_word_BT.shape[1]
    table = torch.full((len(before_BK), end + 1), NONE, device=before_BK.device)
    table[:, :words] = before_BK.flip(1)
    table.scatter_(1, torch.where(is_word_BT, words - 1 + count_BT, end), payload_BT)
    back_K = torch.arange(words, device=before_BK.device)
    index_BTK = (words - 1 + count_BT).unsqueeze(-1) - back_K
    return table.gather(1, index_BTK.flatten(1)).view(*index_BTK.shape)
