"""Letters of text tokens: the table is right, and embeddings can learn to tell them."""

from __future__ import annotations

import numpy as np
import torch

from microturn.model.config import ModelConfig
from microturn.model.model import MAX_LETTERS, Network
from microturn.model.tokens import default_tokenizer
from microturn.scenario.lexicon import CONTENT
from microturn.train.loss import letters_loss
from microturn.train.pack import Packer, collate, token_letters
from tests.train.records import make_records

CPU = torch.device("cpu")


def test_every_content_word_has_its_letters() -> None:
    tokenizer = default_tokenizer()
    letters = token_letters(tokenizer)
    assert letters.shape == (tokenizer.vocab_size, MAX_LETTERS)
    for word in CONTENT:
        for token, text in ((t, tokenizer.decode([t]).strip()) for t in tokenizer.encode_word(word)):
            spelt = "".join(chr(ord("a") + letter - 1) for letter in letters[token] if letter)
            assert spelt == text[:MAX_LETTERS]
    assert not letters[[tokenizer.encode_word("é")[-1]]].any()


def test_a_batch_names_its_words_and_embeddings_learn_their_letters() -> None:
    torch.manual_seed(0)
    tokenizer = default_tokenizer()
    packer = Packer(tokenizer, 2, None)
    rows = [packer.row(record, np.random.default_rng(0)) for record in make_records(8)]
    batch = collate(rows, [0] * 8, packer.letters_VL, CPU)
    assert {tokenizer.decode([int(word)]) for word in batch.word_W} == {" red", " blue"}
    network = Network(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        torch.autograd.backward(letters_loss(network, batch))
        optimiser.step()
    assert float(letters_loss(network, batch).detach()) < 0.05
    assert torch.equal(network.letter_scores(batch.word_W).argmax(-1), batch.letters_WL)
