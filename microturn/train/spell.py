"""Learning to spell by letters: sessions in which every letter goes by the name of another one.

Asked again and again to spell the same words, the network learns word for word what to say, and cannot spell any other
word. Here the letters that words are made of (``model.letters``) and the letters that are said are renamed alike,
differently in every batch: what a word is called is of no use, only what it is made of.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from microturn.model.layout import Kind
from microturn.model.letters import NUM_LETTERS
from microturn.model.sequence import NONE
from microturn.model.tokens import OutputVocabulary, TextTokenizer
from microturn.train.pack import Batch


def letter_tokens(tokenizer: TextTokenizer) -> Tensor:
    """The text tokens of the names of the letters, (26,)."""
    return torch.tensor([tokenizer.encode_word(chr(ord("a") + letter))[0] for letter in range(NUM_LETTERS)])


def draw_names(rng: np.random.Generator) -> Tensor:
    """What each letter is called, (26,)."""
    return torch.from_numpy(rng.permutation(NUM_LETTERS))


def renamed(batch: Batch, letters_L: Tensor, names_L: Tensor, outputs: OutputVocabulary) -> Batch:
    """``batch`` (on the CPU) with letters said under their new names, and without the sound, which has the old ones."""
    sequence = batch.sequence
    token_V = torch.arange(outputs.vocab_size)
    token_V[letters_L] = letters_L[names_L]
    is_said_BT = sequence.kind_BT == Kind.SAY
    payload = torch.where(is_said_BT, token_V[sequence.payload_BT % outputs.vocab_size], sequence.payload_BT)
    said = torch.where(sequence.said_BT == NONE, NONE, token_V[sequence.said_BT.clamp(min=0)])
    is_say_P = (batch.predict_P >= outputs.say) & (batch.predict_P < outputs.act)
    say_P = outputs.say + token_V[(batch.predict_P - outputs.say) % outputs.vocab_size]
    return replace(
        batch,
        sequence=replace(sequence, payload_BT=payload, said_BT=said),
        predict_P=torch.where(is_say_P, say_P, batch.predict_P),
        speak_at_S=batch.speak_at_S[:0],
        mel_SFM=batch.mel_SFM[:0],
        last_mel_SFM=batch.last_mel_SFM[:0],
        letter_names_L=names_L,
    )
