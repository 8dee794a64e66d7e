"""The ids of everything that the backbone can put out. In one softmax:

[0, V)          a word to say
[V, V + A)      act
V + A           <listen>     the last two end the turn
V + A + 1       <speak>
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from microturn.turn import Act

ACTS: tuple[Act, ...] = tuple(Act)
SAY_WEIGHT = 3.0
"""Training counts a word to be said so many times: there are many more turns in which nothing is to be said. Decoding
divides its odds by as much (``unweighted``)."""


class OutputVocabulary:
    """Where things lie in the softmax over what a turn can put out, for ``vocab_size`` text tokens."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.act = vocab_size
        self.listen = self.act + len(ACTS)
        self.speak = self.listen + 1
        self.size = self.speak + 1

    def unweighted(self, scores_NO: Tensor) -> Tensor:
        """Scores (N, O) without the weight that training gave to words: their softmax is what to expect."""
        weighted = torch.zeros(self.size, device=scores_NO.device)
        weighted[: self.act] = math.log(SAY_WEIGHT)
        return scores_NO - weighted
