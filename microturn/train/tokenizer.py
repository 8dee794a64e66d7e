"""Trains the text tokenizer: byte-level BPE in which every word of the lexicon is one token."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from microturn.model.tokens import TextTokenizer
from microturn.scenario import lexicon


def train_tokenizer(vocab_size: int = 2048) -> TextTokenizer:
    """Merges are learnt from the lexicon alone, so other words are spelled in its pieces, down to bytes."""
    words = sorted({*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.LETTERS, *lexicon.NUMBERS})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=1,
        show_progress=False,
    )
    tokenizer.train_from_iterator([" " + " ".join(words)] * 4, trainer)
    return TextTokenizer(tokenizer)
