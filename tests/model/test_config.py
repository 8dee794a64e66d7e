"""The dial: every size builds, and whatever does not fit says so before anything is built."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from microturn.errors import InputError
from microturn.model.config import MAX_SIZE, MIN_SIZE, ModelConfig
from microturn.model.network import Network

VOCAB = 4096


@pytest.mark.parametrize("size", range(MIN_SIZE, MAX_SIZE + 1))
def test_every_size_builds(size: int) -> None:
    config = ModelConfig.of_size(size, vocab_size=VOCAB)
    with torch.device("meta"):
        total, active = Network(config).num_parameters()
    assert 0 < active < total
    assert config.backbone.num_heads % config.backbone.num_kv_heads == 0
    assert config.flow.width % config.flow.num_heads == 0
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_a_larger_size_is_a_larger_model() -> None:
    with torch.device("meta"):
        totals = [
            Network(ModelConfig.of_size(size, vocab_size=VOCAB)).num_parameters()[0]
            for size in range(MIN_SIZE, MAX_SIZE + 1)
        ]
    assert totals == sorted(totals) and len(set(totals)) == len(totals)
    assert totals[0] < 5_000_000 and totals[-1] > 200_000_000


def test_a_dense_model_has_no_idle_parameters() -> None:
    with torch.device("meta"):
        total, active = Network(ModelConfig.of_size(2, vocab_size=VOCAB, num_experts=1)).num_parameters()
    assert total == active


@pytest.mark.parametrize("size", [-1, 0, 17, 100])
def test_sizes_beyond_the_dial_are_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"size {size} is not between 1 and 16"):
        ModelConfig.of_size(size, vocab_size=VOCAB)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("backbone", {"num_heads": 3}, "3 heads cannot share 2"),
        ("backbone", {"lower_layers": 0}, "lower_layers 0"),
        ("backbone", {"lower_layers": 99}, "lower_layers 99"),
        ("backbone", {"time_dim": 15}, "time_dim 15"),
        ("backbone", {"time_dim": 64}, "time_dim 64"),
        ("backbone", {"top_k": 5}, "top_k 5"),
        ("backbone", {"top_k": 0}, "top_k 0"),
        ("flow", {"num_heads": 7}, "not divisible by 7"),
        ("flow", {"width": "wide"}, "width"),
        ("memory", {"hours": 3}, "unknown memory.hours"),
    ],
)
def test_settings_that_do_not_fit_are_named(part: str, changes: dict[str, object], message: str) -> None:
    values: dict[str, Any] = ModelConfig.of_size(2, vocab_size=VOCAB).to_dict()
    values[part] = {**values[part], **changes}
    with pytest.raises(InputError, match=message):
        ModelConfig.from_dict(values)


def test_a_missing_part_is_named() -> None:
    values = ModelConfig.of_size(2, vocab_size=VOCAB).to_dict()
    del values["hearing"]
    with pytest.raises(InputError, match="hearing"):
        ModelConfig.from_dict(values)


def test_the_description_follows_the_dial() -> None:
    described = dict(ModelConfig.of_size(3, vocab_size=VOCAB).describe())
    assert described["width"] == "192 = 64 x size"
    assert described["media memory"] == "150 turns = 30 s"
    assert described["frame"] == "80x80 pixels = 4 patches of 40x40"
