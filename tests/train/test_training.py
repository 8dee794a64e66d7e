"""Training: the golden loss curve, exact resume, and that something is really learnt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.errors import WeightsError
from microturn.model.config import ModelConfig
from microturn.model.model import Network
from microturn.model.tokens import default_tokenizer, spill
from microturn.train.augment import AugmentConfig, augment_user
from microturn.train.checkpoint import Checkpoint
from microturn.train.data import AnyBatch, Batches, DataConfig
from microturn.train.loop import TrainConfig, Trainer
from microturn.train.optim import Muon, OptimConfig, orthogonalise, rate_factor
from microturn.train.pack import Packer
from tests.train.records import blinking, make_records, without_sound

GOLDEN = Path(__file__).parent.parent / "golden" / "losses.json"
CPU = torch.device("cpu")
DATA = DataConfig(batch_tokens=700, pool_records=32, num_workers=0, listening_every=5, watching_every=6)


def trainer(num_steps: int) -> Trainer:
    tokenizer = default_tokenizer()
    config = ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size)
    optim = OptimConfig(warmup_steps=5, ema_decay=0.9)
    return Trainer(config, TrainConfig(num_steps=num_steps, optim=optim), tokenizer, CPU)


def batches(first_step: int = 0) -> Iterator[AnyBatch]:
    records = make_records(64)
    records[::4] = [without_sound(record) for record in records[::4]]
    records += blinking(8)
    stream = Batches(records, default_tokenizer(), 2, DATA, AugmentConfig(), first_step)
    return iter(stream)


def run(training: Trainer, stream: Iterator[AnyBatch], num_steps: int) -> list[float]:
    losses = [training.train_step(next(stream)) for _ in range(num_steps)]
    return [float(loss if isinstance(loss, torch.Tensor) else loss.total.detach()) for loss in losses]


def test_golden_losses() -> None:
    """The first steps' losses are those on file. ``python -m tests.train.test_training`` writes the file anew."""
    golden = json.loads(GOLDEN.read_text())
    np.testing.assert_allclose(run(trainer(40), batches(), len(golden)), golden, rtol=2e-3)


def test_resume_is_exact(tmp_path: Path) -> None:
    """Stopping, saving, loading and going on gives the same losses and weights as going straight on."""
    straight = trainer(20)
    expected = run(straight, batches(), 12)
    first = trainer(20)
    run(first, batches(), 6)
    first.checkpoint().save(tmp_path / "checkpoint.pt")
    second = trainer(20)
    second.restore(Checkpoint.load(tmp_path / "checkpoint.pt", CPU))
    assert run(second, batches(first_step=6), 6) == expected[6:]
    for name, value in straight.averaged.values.items():
        assert torch.equal(value, second.averaged.values[name]), name


def test_the_weights_that_are_saved_are_the_averaged_ones() -> None:
    """With the letters folded into the table, so that they say the same without a tokenizer."""
    training = trainer(20)
    run(training, batches(), 4)
    network = training.network
    network.load_state_dict(training.averaged.values)
    hidden = torch.randn(3, network.config.backbone.width)
    expected = network.lane_scores(hidden).detach()
    saved = Network(network.config)
    saved.load_state_dict(training.weights())
    torch.testing.assert_close(saved.lane_scores(hidden).detach(), expected)


def test_words_are_learnt() -> None:
    """On data with a pattern, the share of words predicted right becomes high on fresh sessions."""
    training = trainer(250)
    run(training, batches(), 250)
    fresh = Batches(make_records(32, seed=9) + blinking(2), default_tokenizer(), 2, DATA, None)
    stream = iter(fresh)
    figures = training.evaluate([next(stream) for _ in range(fresh.epoch_length())], fresh.families)
    assert figures.words > 0.8
    assert figures.ends > 0.9


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(WeightsError, match="checkpoint.pt"):
        Checkpoint.load(path, CPU)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="checkpoint.pt: not a checkpoint"):
        Checkpoint.load(path, CPU)


def test_rate_warms_up_and_ends_at_zero() -> None:
    config = OptimConfig(warmup_steps=10, decay_share=0.5)
    factors = [rate_factor(step, 100, config) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[30] == 1.0 and factors[75] == pytest.approx(0.5)
    assert factors[100] == 0.0


def test_muon_takes_a_closure() -> None:
    """As every optimiser of torch: it computes gradients and the loss, which comes back."""
    matrix = torch.nn.Parameter(torch.eye(3))

    def closure() -> float:
        loss = matrix.square().sum()
        torch.autograd.backward(loss)
        return float(loss.detach())

    muon = Muon([{"params": [matrix], "listens": False}], rate=0.1, weight_decay=0.0)
    assert muon.step(closure) == 3.0
    assert 0.0 < float(matrix.square().sum().detach()) < 3.0


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    singular = torch.linalg.svdvals(orthogonalise(torch.randn(3, 40, 24)))
    assert singular.min() > 0.5 and singular.max() < 1.4


def test_words_beyond_the_limit_go_on_in_the_next_turn() -> None:
    tokenizer = default_tokenizer()
    words = ["red", "blue", "green", "black", "white", "yellow"]
    turns = spill({1: words}, tokenizer, 4, 4)
    assert [len(turn) for turn in turns] == [0, 4, 2, 0]
    assert tokenizer.decode(turns[1] + turns[2]).split() == words


def test_predictions_stand_one_before_their_tokens() -> None:
    """Every word's target is predicted at the token before it, every turn ends with <listen> or <speak>."""
    tokenizer = default_tokenizer()
    record = make_records(1)[0]
    row = Packer(tokenizer, 2, None).row(record, np.random.default_rng(0))
    outputs = Packer(tokenizer, 2, None)._outputs
    assert len(row.predict) == record.num_turns + 2  # one end a turn, one word heard, one said
    assert sum(target == outputs.speak for target in row.predict) == 1
    for at, target in zip(row.predict_at, row.predict, strict=True):
        if target < outputs.act:
            assert row.tokens.payloads[at + 1] == target % outputs.vocab_size


def test_augmentation_keeps_times_and_range() -> None:
    rng = np.random.default_rng(0)
    mel = np.full((6, 20, 80), -18.0, np.float32)
    mel[3] = -6.0
    config = replace(AugmentConfig(), noise_probability=0.0, band_limit_probability=0.0)
    for _ in range(20):
        changed = augment_user(mel, rng, config)
        assert changed.shape == mel.shape and changed.min() >= -18.0 and changed.max() <= -2.0
        loudness = changed.mean((1, 2))
        assert loudness.argmax() == 3


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps([round(loss, 6) for loss in run(trainer(40), batches(), 25)]) + "\n")
