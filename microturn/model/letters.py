"""Letters in the embeddings of text tokens, so that a word can be spelt that was never asked for.

A token that is a word says nothing about its letters, and what to spell would have to be learnt word by word. Here
every letter at every place adds a vector of its own to the embeddings of all tokens that have it there, a
parametrisation that exists in training alone: ``Network.fold_letters`` adds the sums into the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from microturn.model.tokens import TextTokenizer

# Shapes: V text tokens, D width, K places in a word, L letters, P letters at places (K x L).

NUM_LETTERS = 26
MAX_LETTERS = 10
"""Letters of a text token that its embedding is made of."""


class Letters(nn.Module):
    """What their letters add to the embeddings of text tokens."""

    spelt_VP: Tensor

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.each = nn.Linear(MAX_LETTERS * NUM_LETTERS, width, bias=False)
        nn.init.normal_(self.each.weight, std=0.2)
        self.register_buffer("spelt_VP", torch.zeros(vocab_size, MAX_LETTERS * NUM_LETTERS), persistent=False)
        self.known = False
        """Whether ``spelt_VP`` was set; without it there is nothing to add."""
        self._names_L: Tensor | None = None

    def learn(self, tokenizer: TextTokenizer) -> None:
        """From now on the tokens are made of the letters that ``tokenizer`` gives them."""
        self.spelt_VP.copy_(token_letters(tokenizer))
        self.known = True

    @contextmanager
    def called(self, names_L: Tensor) -> Iterator[None]:
        """Within, words of several letters are made of ``names[letter]`` in the place of every letter."""
        self._names_L = names_L
        try:
            yield
        finally:
            self._names_L = None

    def forward(self) -> Tensor:
        """What is added to the embeddings, (V, D)."""
        spelt_VP = self.spelt_VP
        if self._names_L is not None:
            spelt_VKL = spelt_VP.view(len(spelt_VP), MAX_LETTERS, NUM_LETTERS)
            renamed_VP = spelt_VKL[..., self._names_L.argsort()].flatten(1)
            spelt_VP = torch.where(spelt_VP.sum(1, keepdim=True) > 1, renamed_VP, spelt_VP)
        added: Tensor = self.each(spelt_VP)
        return added


def token_letters(tokenizer: TextTokenizer) -> Tensor:
    """1 for every letter at its place in each text token, (V, P); nothing for tokens that are not just letters."""
    letters = torch.zeros(tokenizer.vocab_size, MAX_LETTERS, NUM_LETTERS)
    for index in range(tokenizer.vocab_size):
        text = tokenizer.decode([index]).strip()
        if text.isascii() and text.isalpha() and text.islower():
            for place, letter in enumerate(text[:MAX_LETTERS]):
                letters[index, place, ord(letter) - ord("a")] = 1.0
    return letters.flatten(1)
