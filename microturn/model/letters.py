"""Letters in the embeddings of text tokens, so that a word can be spelt that was never asked for.

A token that is a word says nothing about its letters, and what to spell would have to be learnt word by word. Here
every letter at every place adds a vector of its own to the embeddings of all tokens that have it there, a
parametrisation that exists in training alone: ``Network.fold_letters`` adds the sums into the table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from microturn.model.tokens import TextTokenizer

# Shapes: V text tokens, D width, P letter places (MAX_LETTERS x 26).

NUM_LETTERS = 26
MAX_LETTERS = 10
"""Letters of a text token that its embedding is made of."""


class Letters(nn.Module):
    """What their letters add to the embeddings of text tokens."""

    spelt_VP: Tensor

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.each = nn.Linear(MAX_LETTERS * NUM_LETTERS, width, bias=False)
        nn.init.zeros_(self.each.weight)
        self.register_buffer("spelt_VP", torch.zeros(vocab_size, MAX_LETTERS * NUM_LETTERS), persistent=False)
        self.known = False
        """Whether ``spelt_VP`` was set; without it there is nothing to add."""

    def learn(self, tokenizer: TextTokenizer) -> None:
        """From now on the tokens are made of the letters that ``tokenizer`` gives them."""
        self.spelt_VP.copy_(token_letters(tokenizer))
        self.known = True

    def forward(self) -> Tensor:
        """(V, D)."""
        added: Tensor = self.each(self.spelt_VP)
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
