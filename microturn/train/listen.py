"""Learning to listen: the lower layers write and spell what the user says, from sound alone.

Rows hold nothing but AUDIO tokens. Two tasks are read after the listening layers: at every turn's last token the word
of the hear lane (or <listen>), by the same heads that read the whole network; and at all tokens the letters, by
connectionist temporal classification (Graves et al. 2006). The words of the hear lane themselves are not in these
rows: with them in sight, later tokens copy their letters, and nothing is learnt about sound. A row costs a fraction of
a whole session: four tokens a turn through half of the layers, and every second of it is speech. It is the first stage
of training, and goes on now and then after it, as an intermediate loss does (Lee & Watanabe 2021, "Intermediate Loss
Regularization for CTC-based Speech Recognition").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from microturn.model.ear import with_context
from microturn.model.layout import AUDIO_TOKENS
from microturn.model.mel import dmel_levels
from microturn.model.model import Network
from microturn.model.sequence import Sequence, SequenceBuilder, stack_rows
from microturn.model.tokens import OutputVocabulary, TextTokenizer, spill
from microturn.scenario.corpus import Record, mel_from_bytes
from microturn.train.augment import AugmentConfig, augment_user
from microturn.turn import MAX_HEAR_TOKENS

# Shapes: B rows, T tokens, L letters, P predictions, O output ids, S letters and blank.


@dataclass(frozen=True)
class ListeningRow:
    """One record's sound, the letters in it, and the first output of each of its turns."""

    tokens: SequenceBuilder
    letters: list[int]
    outputs: list[int]


@dataclass(frozen=True)
class ListeningBatch:
    """Rows of AUDIO tokens, their letters (1..26) padded with 0, and flat positions with the outputs predicted."""

    sequence: Sequence
    letters_BL: Tensor
    predict_at_P: Tensor
    predict_P: Tensor


def letters_heard(record: Record) -> list[int]:
    """Letters 1..26 of the words heard, in order."""
    words = [word for turn in sorted(record.hear) for word in record.hear[turn]]
    return [ord(letter) - ord("a") + 1 for word in words for letter in word if "a" <= letter <= "z"]


def can_be_spelt(record: Record) -> bool:
    """Whether there are words with their sound, all of them known."""
    return bool(record.hear) and bool(record.user_mel) and not record.unlabelled


def listening_row(
    record: Record, tokenizer: TextTokenizer, augment: AugmentConfig | None, rng: np.random.Generator
) -> ListeningRow:
    """The sound of a record, all of its turns (a gap is silence)."""
    listen = OutputVocabulary(tokenizer.vocab_size).listen
    heard = spill(record.hear, tokenizer, MAX_HEAR_TOKENS, record.num_turns)
    user = mel_from_bytes(record.user_mel)
    levels = dmel_levels(user if augment is None else augment_user(user, rng, augment))
    tokens = SequenceBuilder()
    for turn in range(record.num_turns):
        tokens.add_audio(turn, with_context(levels[turn - 1] if turn else None, levels[turn]))
    return ListeningRow(tokens, letters_heard(record), [words[0] if words else listen for words in heard])


def collate_listening(rows: list[ListeningRow], device: torch.device) -> ListeningBatch:
    """Rows to one batch on ``device``."""
    letters = np.zeros((len(rows), max(len(row.letters) for row in rows)), np.int64)
    for index, row in enumerate(rows):
        letters[index, : len(row.letters)] = row.letters
    sequence = stack_rows([row.tokens for row in rows], device)
    length = sequence.kind_BT.shape[1]
    last = [np.arange(1, len(row.outputs) + 1) * AUDIO_TOKENS - 1 + index * length for index, row in enumerate(rows)]
    return ListeningBatch(
        sequence,
        torch.from_numpy(letters).to(device),
        torch.from_numpy(np.concatenate(last)).to(device),
        torch.tensor([output for row in rows for output in row.outputs], device=device),
    )


@dataclass(frozen=True)
class ListeningLosses:
    """Parts of a listening batch's loss; ``right_P`` tells which predictions were right."""

    total: Tensor
    spelling: Tensor
    right_P: Tensor


def listening_losses(network: Network, batch: ListeningBatch, spelling_weight: float) -> ListeningLosses:
    """Mean cross-entropy of the turns' first outputs, and of each row's letters (a letter), over rows."""
    hidden_BTD = network.listen(batch.sequence)
    scores_PO = network.lane_scores(hidden_BTD.flatten(0, 1)[batch.predict_at_P]).float()
    words = F.cross_entropy(scores_PO, batch.predict_P)
    letter_scores_BTS = network.spelling(hidden_BTD).float().log_softmax(-1)
    num_tokens_B = batch.sequence.valid_BT.sum(1).cpu()
    num_letters_B = (batch.letters_BL > 0).sum(1).cpu()
    spelling = F.ctc_loss(
        letter_scores_BTS.transpose(0, 1), batch.letters_BL, num_tokens_B, num_letters_B, zero_infinity=True
    )
    right = scores_PO.argmax(-1) == batch.predict_P
    return ListeningLosses(words + spelling_weight * spelling, spelling.detach(), right)
