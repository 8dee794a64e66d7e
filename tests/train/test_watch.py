"""Watching: rows hold pictures alone, a repetition ends where ``count`` says its number, and it can be learnt."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from microturn.errors import CorpusError
from microturn.model.config import ModelConfig
from microturn.model.layout import Kind
from microturn.model.tokens import default_tokenizer
from microturn.scenario.corpus import to_record
from microturn.scenario.count import SEEN_LAG_MS
from microturn.scenario.repcount import RepTiming
from microturn.scenario.scenario import first_turn_heard_after
from microturn.scenario.watching import DONE, NUM_QUARTERS, REST, phase_at, watching
from microturn.train.augment import AugmentConfig
from microturn.train.data import Batches, DataConfig
from microturn.train.loop import TrainConfig, Trainer
from microturn.train.optim import OptimConfig
from microturn.train.watch import WatchingBatch, collate_watching, watching_losses, watching_row
from tests.train.records import blinking, make_records

CPU = torch.device("cpu")


def test_phases_of_a_repetition() -> None:
    """Rest, four quarters, and the end in the turn whose sound could say the number."""
    timing = RepTiming((1000.0, 3000.0), (2600.0, 4600.0))
    phases = [phase_at(timing, turn) for turn in range(26)]
    assert phases[:5] == [REST] * 5
    assert phases[5:13] == [1, 1, 2, 2, 3, 3, 4, 4]
    for end_ms in timing.end_ms:
        assert phases[first_turn_heard_after(end_ms + SEEN_LAG_MS)] == DONE
    assert phases.count(DONE) == 2
    assert phases[24:] == [REST] * 2
    assert max(phases) == DONE == NUM_QUARTERS + 1


def test_rows_hold_pictures_alone() -> None:
    record = to_record(watching(3, "train", None))
    row = watching_row(record, 2, None, np.random.default_rng(0))
    assert set(row.tokens.kinds) == {Kind.PATCH}
    assert len(row.tokens) == 4 * len(row.phases) == 4 * len(record.frames)
    batch = collate_watching([row, row], 4, CPU)
    assert batch.predict_P.tolist() == 2 * row.phases
    turn_P = batch.sequence.turn_BT.flatten()[batch.predict_at_P]
    assert turn_P.tolist() == 2 * sorted(record.phases)
    assert (batch.sequence.payload_BT.flatten()[batch.predict_at_P] == 3).all()


def test_augmented_videos_keep_their_phases_and_change_their_pictures() -> None:
    record = to_record(watching(4, "train", None))
    plain = watching_row(record, 2, None, np.random.default_rng(0))
    changed = [watching_row(record, 2, AugmentConfig(), np.random.default_rng(seed)) for seed in range(4)]
    for row in changed:
        assert row.phases == plain.phases
    assert any((np.stack(row.tokens.patches) != np.stack(plain.tokens.patches)).any() for row in changed)


def test_phases_are_learnt() -> None:
    config = ModelConfig.of_size(1, vocab_size=default_tokenizer().vocab_size)
    training = Trainer(config, TrainConfig(num_steps=80, optim=OptimConfig(warmup_steps=5)), default_tokenizer(), CPU)
    data = DataConfig(batch_tokens=400, pool_records=32, num_workers=0, watching_every=1)
    records = blinking(16) + make_records(1)
    stream = iter(Batches(records, default_tokenizer(), 2, data, None))
    for batch in islice(stream, 80):
        training.train_step(batch)
    rows = [watching_row(record, 2, None, np.random.default_rng(0)) for record in blinking(4)]
    assert watching_losses(training.network, collate_watching(rows, 4, CPU)).right_P.float().mean() > 0.95


def test_watching_steps() -> None:
    config = DataConfig(batch_tokens=400, pool_records=32, num_workers=0, watching_every=3, listening_every=2)
    stream = Batches(blinking(4) + make_records(8), default_tokenizer(), 2, config, None)
    kinds = [isinstance(batch, WatchingBatch) for batch in islice(iter(stream), 7)]
    assert kinds == [False, False, True, False, False, True, False]
    assert stream.families == ["say"]


def test_a_corpus_without_videos_is_named() -> None:
    with pytest.raises(CorpusError, match="none of them has repetitions to watch"):
        Batches(make_records(2), default_tokenizer(), 2, DataConfig(num_workers=0, watching_every=4), None)
