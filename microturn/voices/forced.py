"""Forced alignment: when known words are said, given how likely every phone is at every time.

The likeliest way through the words' phones in order (Viterbi 1967), with silence before, between and after the words or
not, and phones left out at a price: those that are said fast are shorter than the pieces of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from microturn.voices.phones import Pronunciation

# Shapes: N pieces of time, P phones, S states.

LEFT_OUT = -2.0
"""Logarithm of how likely a phone is left out."""
_NEVER = -1e9


@dataclass(frozen=True)
class Span:
    """Where a word is said: its first piece of time, the one after its last, and the mean of its phones' logarithms."""

    first: int
    after: int
    mean_log: float


def word_spans(log_NP: NDArray[np.float32], words: Sequence[Pronunciation]) -> list[Span | None]:
    """The place of every word, ``None`` for words all of whose phones are left out. ``log_NP`` are logarithms of
    likelihoods; phone 0 is silence."""
    phones, word_of = [0], [-1]
    for index, word in enumerate(words):
        phones += [*word.phones, 0]
        word_of += [index] * len(word.phones) + [-1]
    word_S, log_NS = np.array(word_of), log_NP[:, phones]
    state_N = _path(log_NS, np.where(word_S < 0, 0.0, LEFT_OUT))
    log_N = np.take_along_axis(log_NS, state_N[:, None], 1)[:, 0]
    spans: list[Span | None] = []
    for index in range(len(words)):
        pieces = np.flatnonzero(word_S[state_N] == index)
        found = Span(int(pieces[0]), int(pieces[-1]) + 1, float(log_N[pieces].mean())) if len(pieces) else None
        spans.append(found)
    return spans


def _path(log_NS: NDArray[np.float32], left_out_S: NDArray[np.float64]) -> NDArray[np.int64]:
    """The state of every piece of time: from each to itself or one of the next three, those between left out."""
    num_pieces, num_states = log_NS.shape
    one_S = _moved(left_out_S, 1)
    costs = (np.zeros(num_states), np.zeros(num_states), one_S, one_S + _moved(left_out_S, 2))
    back_NS = np.zeros((num_pieces, num_states), np.int8)
    best_S = np.full(num_states, _NEVER)
    best_S[:2] = log_NS[0, :2]
    for piece in range(1, num_pieces):
        ways = np.stack([_moved(best_S, steps) + cost for steps, cost in enumerate(costs)])
        back_NS[piece] = ways.argmax(0)
        best_S = ways.max(0) + log_NS[piece]
    state = num_states - 2 + int(best_S[-2:].argmax())
    path_N = np.zeros(num_pieces, np.int64)
    for piece in reversed(range(num_pieces)):
        path_N[piece] = state
        state -= int(back_NS[piece, state])
    return path_N


def _moved(values_S: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """What the state so many steps before has."""
    return np.concatenate([np.full(steps, _NEVER), values_S[: len(values_S) - steps]])
