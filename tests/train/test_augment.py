"""Changes of rows: sound keeps its times and range; utterances start late in order, and never into each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from microturn.scenario.scenario import Utterance
from microturn.train.augment import AugmentConfig, augment_frames, augment_user, hesitant, instructed
from microturn.turn import TURN_SAMPLES
from microturn.voices.speech import Speech

ALWAYS_ONE = AugmentConfig(late_probabilities=(1.0,))
ALWAYS_TWO = AugmentConfig(late_probabilities=(0.0, 1.0))


def utterances(*spans: tuple[int, int]) -> list[Utterance]:
    """(first turn, turns) each."""
    return [Utterance(turn, Speech(np.zeros(length * TURN_SAMPLES, np.float32), ())) for turn, length in spans]


@pytest.mark.parametrize(
    ("config", "spans", "late"),
    [
        (ALWAYS_ONE, [(3, 2), (7, 1)], [4, 8]),
        (ALWAYS_TWO, [(3, 2), (7, 1)], [5, 9]),
        (ALWAYS_TWO, [(2, 1), (9, 4)], [4, 9]),  # the session ends
        (ALWAYS_TWO, [(2, 2), (5, 2), (9, 4)], [3, 6, 9]),  # a silent turn stays between two
        (AugmentConfig(late_probabilities=()), [(3, 2)], [3]),
    ],
)
def test_late(config: AugmentConfig, spans: list[tuple[int, int]], late: list[int]) -> None:
    before = utterances(*spans)
    after = hesitant(before, 14, np.random.default_rng(0), config)
    assert [utterance.turn for utterance in after] == late
    assert [utterance.speech for utterance in after] == [utterance.speech for utterance in before]


def test_most_are_on_time() -> None:
    rng = np.random.default_rng(0)
    shifts = [hesitant(utterances((4, 1)), 14, rng, AugmentConfig())[0].turn - 4 for _ in range(2000)]
    assert np.bincount(shifts) / 2000 == pytest.approx([0.8, 0.15, 0.05], abs=0.03)


def test_sound_keeps_its_times_and_range() -> None:
    rng = np.random.default_rng(0)
    mel = np.full((6, 20, 80), -18.0, np.float32)
    mel[3] = -6.0
    config = replace(AugmentConfig(), noise_probability=0.0, band_limit_probability=0.0)
    before = mel.copy()
    for _ in range(20):
        changed = augment_user(mel, rng, config)
        assert changed.shape == mel.shape and changed.min() >= -18.0 and changed.max() <= -2.0
        assert changed.mean((1, 2)).argmax() == 3
    np.testing.assert_array_equal(mel, before)


def test_stretches_of_time_are_masked_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    plain = replace(
        AugmentConfig(), noise_probability=0.0, band_limit_probability=0.0, mask_probability=0.0, gain_nats=(0.0, 0.0)
    )
    mel = np.full((500, 20, 80), -6.0, np.float32)
    for probability in (0.0, 0.15):
        changed = augment_user(mel, rng, replace(plain, mask_time_probability=probability)).reshape(-1, 80)
        masked = (changed == -18.0).all(-1)
        starts = int(np.diff(np.concatenate([[False], masked]).astype(int)).clip(min=0).sum())
        assert starts == pytest.approx(500 * probability, abs=25)
        assert masked.sum() == pytest.approx(starts * (1 + plain.mask_time_frames) / 2, rel=0.2)


def test_instructions_delay_nothing_that_comes_after_them() -> None:
    """Or the answer to it would be told before it was read."""
    written = [f"i{place}" for place in range(40)]
    assert instructed({}, written, 3, limit=16) == {3: written}
    assert instructed({2: ["a"], 9: ["b"]}, written, 3, limit=16) == {2: ["a"], 3: written, 9: ["b"]}
    assert instructed({4: ["a"]}, written, 3, limit=16) == {3: written[:16], 4: ["a"]}
    assert instructed({3: ["a", "b"]}, written, 3, limit=16) == {3: [*written[:14], "a", "b"]}
    assert instructed({3: ["a"] * 20}, written, 3, limit=16) == {3: ["a"] * 20}


def test_pictures_of_a_video_are_all_changed_alike() -> None:
    """Mirrored, in other colours, inverted, but each still that of its turn."""
    first = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    frames = {turn: first + np.uint8(turn) for turn in (0, 2, 3)}
    whole = replace(AugmentConfig(), lost_pictures_probability=0.0)
    results = [augment_frames(frames, (), np.random.default_rng(seed), whole) for seed in range(32)]
    for changed in results:
        assert changed.keys() == frames.keys()
        step = changed[2].astype(np.int16) - changed[0]
        assert set(np.unique(step % 256)) in ({2}, {254})
    assert len({changed[0].tobytes() for changed in results}) > 10


def test_pictures_are_lost_as_often_as_asked() -> None:
    frames = {turn: np.zeros((2, 2, 3), np.uint8) for turn in range(100)}
    config = replace(AugmentConfig(), lost_pictures_probability=0.5, lost_pictures=0.4)
    kept = [len(augment_frames(frames, (), np.random.default_rng(seed), config)) for seed in range(200)]
    assert 0.35 < np.mean([count < 100 for count in kept]) < 0.6
    assert min(kept) > 40
    assert 0.1 < 1.0 - np.mean([count / 100 for count in kept if count < 100]) < 0.3
    config = replace(config, lost_pictures_probability=1.0, lost_pictures=1.0)
    left = [augment_frames(frames, {4, 70}, np.random.default_rng(seed), config).keys() for seed in range(20)]
    assert all({4, 70} <= turns for turns in left) and min(map(len, left)) < 20
