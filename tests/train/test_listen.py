"""Listening: rows hold sound alone, the words stand where the hear lane has them, and the tasks can be learnt."""

from __future__ import annotations

from itertools import islice

import msgspec
import numpy as np
import pytest
import torch

from microturn.errors import CorpusError
from microturn.model.config import ModelConfig
from microturn.model.layout import AUDIO_TOKENS, Kind
from microturn.model.model import Network
from microturn.model.tokens import OutputVocabulary, default_tokenizer
from microturn.train.data import Batches, DataConfig
from microturn.train.listen import ListeningBatch, collate_listening, letters_heard, listening_losses, listening_row
from microturn.train.loop import TrainConfig, Trainer
from microturn.train.optim import OptimConfig
from microturn.train.pack import Packer
from tests.train.records import make_records, without_sound

CPU = torch.device("cpu")


def test_rows_hold_sound_alone() -> None:
    tokenizer = default_tokenizer()
    outputs = OutputVocabulary(tokenizer.vocab_size)
    record = make_records(1)[0]
    (turn,) = record.hear
    row = listening_row(record, tokenizer, None, np.random.default_rng(0))
    assert set(row.tokens.kinds) == {Kind.AUDIO}
    assert row.outputs[turn] == tokenizer.encode_word(record.hear[turn][0])[0]
    assert row.outputs.count(outputs.listen) == record.num_turns - 1
    assert "".join(chr(ord("a") + letter - 1) for letter in letters_heard(record)) == record.hear[turn][0]


def test_outputs_are_predicted_at_the_last_token_of_their_turn() -> None:
    tokenizer = default_tokenizer()
    rows = [listening_row(record, tokenizer, None, np.random.default_rng(0)) for record in make_records(3)]
    batch = collate_listening(rows, CPU)
    assert batch.predict_P.tolist() == [output for row in rows for output in row.outputs]
    turn_N = batch.sequence.turn_BT.flatten()[batch.predict_at_P]
    assert turn_N.tolist() == [turn for row in rows for turn in range(len(row.outputs))]
    assert (batch.sequence.offset_BT.flatten()[batch.predict_at_P] == 1 - 1 / AUDIO_TOKENS).all()


def test_layers_above_do_not_matter_at_first() -> None:
    """A new network's upper layers pass on what the listening layers hear."""
    tokenizer = default_tokenizer()
    network = Network(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size)).eval()
    row = listening_row(make_records(1)[0], tokenizer, None, np.random.default_rng(0))
    sequence = collate_listening([row], CPU).sequence
    torch.testing.assert_close(network(sequence), network.listen(sequence))


def test_both_tasks_are_learnt() -> None:
    config = ModelConfig.of_size(1, vocab_size=default_tokenizer().vocab_size)
    training = Trainer(config, TrainConfig(num_steps=150, optim=OptimConfig(warmup_steps=5)), default_tokenizer(), CPU)
    data = DataConfig(batch_tokens=700, pool_records=32, num_workers=0, listening_steps=150)
    stream = iter(Batches(make_records(64), default_tokenizer(), 2, data, None))
    losses = [training.train_step(batch) for batch in islice(stream, 150)]
    fresh = [listening_row(r, default_tokenizer(), None, np.random.default_rng(0)) for r in make_records(16, seed=5)]
    after = listening_losses(training.network, collate_listening(fresh, CPU), 0.5)
    assert float(after.total.detach()) < 0.25 * float(losses[0].total.detach())
    assert after.right_P.float().mean() > 0.99


def test_first_steps_listen_and_then_every_so_many() -> None:
    config = DataConfig(batch_tokens=700, pool_records=32, num_workers=0, listening_steps=3, listening_every=4)
    stream = Batches(make_records(16), default_tokenizer(), 2, config, None)
    kinds = [isinstance(batch, ListeningBatch) for batch in islice(iter(stream), 10)]
    assert kinds == [True, True, True, False, True, False, False, False, True, False]


@pytest.mark.parametrize("deaf", [False, True])
def test_a_row_of_gaps_is_told_the_words(deaf: bool) -> None:
    """Words heard are in the row either way; a row without sound is not asked for them."""
    tokenizer = default_tokenizer()
    outputs = OutputVocabulary(tokenizer.vocab_size)
    record = make_records(1)[0]
    record = without_sound(record) if deaf else record
    row = Packer(tokenizer, 2, None).row(record, np.random.default_rng(0))
    assert row.tokens.kinds.count(Kind.HEAR) == 1
    assert row.tokens.kinds.count(Kind.AUDIO) == (0 if deaf else AUDIO_TOKENS * record.num_turns)
    assert row.tokens.kinds.count(Kind.GAP) == (record.num_turns if deaf else 0)
    assert any(output < outputs.say for output in row.predict) != deaf
    assert all(unknown == deaf for unknown in row.hear_unknown)
    assert row.predict[-1] == outputs.listen


def test_a_corpus_without_speech_is_named() -> None:
    config = DataConfig(num_workers=0, listening_steps=1)
    wordless = [msgspec.structs.replace(record, hear={}) for record in make_records(4)]
    for silent in (wordless, [without_sound(record) for record in make_records(4)]):
        with pytest.raises(CorpusError, match="none of them has speech"):
            Batches(silent, default_tokenizer(), 2, config, None)
    with pytest.raises(CorpusError, match="none of them is a session"):
        Batches([], default_tokenizer(), 2, config, None)


def test_batches_keep_to_their_tokens() -> None:
    """Also where records hold nothing but gaps."""
    records = make_records(32)
    records += [without_sound(record) for record in records]
    config = DataConfig(batch_tokens=600, pool_records=64, num_workers=0)
    for batch in islice(iter(Batches(records, default_tokenizer(), 2, config, None)), 12):
        assert batch.sequence.kind_BT.numel() <= 600
