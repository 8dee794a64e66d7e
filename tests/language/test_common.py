"""Sentences of common words: the same for the same draws, and in English order."""

from __future__ import annotations

import numpy as np

from microturn.language.common import common_sentence, common_words, trigrams


def likelihood(words: list[str]) -> float:
    """Mean logarithm of each word after the two before it."""
    model = trigrams()
    return float(np.mean([model.prob([words[at], words[at - 1], words[at - 2]]) for at in range(2, len(words))]))


def test_the_same_draws_give_the_same_sentence_of_common_words() -> None:
    first, second = (common_sentence(np.random.default_rng(3), 12) for _ in range(2))
    assert first == second != common_sentence(np.random.default_rng(4), 12)
    assert len(first.split()) == 12 and set(first.split()) <= set(common_words())


def test_words_follow_each_other_as_in_english() -> None:
    rng = np.random.default_rng(0)
    sentences = [common_sentence(rng, 10).split() for _ in range(12)]
    shuffled = [[str(word) for word in rng.permutation(words)] for words in sentences]
    assert (
        np.mean([likelihood(words) for words in sentences]) > np.mean([likelihood(words) for words in shuffled]) + 5e3
    )
    assert len({word for words in sentences for word in words}) > 60
