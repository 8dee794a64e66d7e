"""Utterances that start late: words and sound move together, in order, and never into each other."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from microturn.scenario.corpus import Record
from microturn.train.augment import AugmentConfig, hesitant
from tests.train.records import make_records

ALWAYS_ONE = AugmentConfig(late_probabilities=(1.0,))
ALWAYS_TWO = AugmentConfig(late_probabilities=(0.0, 1.0))


def record(speaking: list[int], say: dict[int, list[str]]) -> Record:
    return msgspec.structs.replace(make_records(1)[0], speaking=speaking, say=say)


@pytest.mark.parametrize(
    ("config", "speaking", "late"),
    [
        (ALWAYS_ONE, [3, 4, 7], [4, 5, 8]),
        (ALWAYS_TWO, [3, 4, 7], [5, 6, 9]),
        (ALWAYS_TWO, [2, 9, 10, 11, 12], [4, 9, 10, 11, 12]),  # the session ends
        (ALWAYS_TWO, [2, 3, 5, 6, 9, 10, 11, 12], [3, 4, 6, 7, 9, 10, 11, 12]),  # a silent turn stays between two
        (AugmentConfig(late_probabilities=()), [3, 4], [3, 4]),
    ],
)
def test_late(config: AugmentConfig, speaking: list[int], late: list[int]) -> None:
    before = record(speaking, {turn: [f"word{turn}"] for turn in speaking})
    after = hesitant(before, np.random.default_rng(0), config)
    assert after.speaking == late
    assert after.say == {turn: [f"word{was}"] for was, turn in zip(speaking, late, strict=True)}
    assert after.model_mel == before.model_mel


def test_most_are_on_time() -> None:
    rng = np.random.default_rng(0)
    shifts = [hesitant(record([4], {}), rng, AugmentConfig()).speaking[0] - 4 for _ in range(2000)]
    assert np.bincount(shifts) / 2000 == pytest.approx([0.8, 0.15, 0.05], abs=0.03)
