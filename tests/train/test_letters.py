"""Letters of text tokens: the table is right, embeddings are made of them, and can be had without them."""

from __future__ import annotations

import torch

from microturn.model.config import ModelConfig
from microturn.model.letters import MAX_LETTERS, NUM_LETTERS, token_letters
from microturn.model.model import Network
from microturn.model.tokens import default_tokenizer
from microturn.scenario.lexicon import CONTENT


def test_every_content_word_has_its_letters() -> None:
    tokenizer = default_tokenizer()
    letters = token_letters(tokenizer).view(-1, MAX_LETTERS, NUM_LETTERS)
    assert len(letters) == tokenizer.vocab_size
    for word in CONTENT:
        for token, text in ((t, tokenizer.decode([t]).strip()) for t in tokenizer.encode_word(word)):
            num = min(len(text), MAX_LETTERS)
            spelt = "".join(chr(ord("a") + int(letter)) for letter in letters[token, :num].argmax(-1))
            assert spelt == text[:MAX_LETTERS] and letters[token].sum() == num
    assert not letters[[tokenizer.encode_word("é")[-1]]].any()


def test_folded_letters_change_nothing() -> None:
    torch.manual_seed(0)
    tokenizer = default_tokenizer()
    network = Network(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size))
    embedder = network.embedder
    plain = embedder.table_VD.detach().clone()
    torch.nn.init.normal_(embedder.letters.each.weight)
    torch.testing.assert_close(embedder.table_VD, plain)
    embedder.letters.learn(tokenizer)
    red, read, blue = (tokenizer.encode_word(word)[0] for word in ("red", "read", "blue"))
    lettered = embedder.table_VD.detach().clone()
    added = lettered - plain
    assert torch.dist(added[red], added[read]) < torch.dist(added[red], added[blue])
    network.fold_letters()
    torch.testing.assert_close(embedder.table_VD, lettered)
    torch.testing.assert_close(embedder.text.weight, lettered)
    assert not embedder.letters.each.weight.any()
