"""What is remembered of pictures, against a list of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from microturn.model.likeness import LEAST_DIFFERENCE, SMALLER, PictureState, initial_picture_state, looked
from microturn.model.turns import LIKENESS_SIZE, LIKENESS_TURNS, PATCH_PIXELS

SHAPE = (4, PATCH_PIXELS, PATCH_PIXELS, 3)


def grey(value: int) -> Tensor:
    return torch.full((1, *SHAPE), value, dtype=torch.uint8)


def shown(state: PictureState, picture: Tensor, turn: int) -> tuple[Tensor, Tensor, PictureState]:
    """Patches, likeness and what is remembered after one turn of one session."""
    seen, state = looked(state, picture, torch.tensor([turn]))
    return seen.patches_RNPPC[0], seen.likeness_RL[0], state


def test_a_picture_comes_beside_the_one_before_it() -> None:
    state = initial_picture_state(4, 1)
    patches, _, state = shown(state, grey(10), 3)
    assert patches[0, 0, 0].tolist() == [10] * 6
    patches, _, state = shown(state, grey(20), 4)
    assert patches[0, 0, 0].tolist() == [20] * 3 + [10] * 3
    patches, _, _ = shown(state, grey(30), 4 + 5 * LIKENESS_TURNS)
    assert patches[0, 0, 0].tolist() == [30] * 3 + [20] * 3, "however long ago it was"


def test_the_first_picture_is_compared_with_nothing() -> None:
    _, likeness, _ = shown(initial_picture_state(4, 1), grey(200), 7)
    assert likeness.shape == (LIKENESS_SIZE,)
    assert not likeness[:-1].any()


def test_what_comes_back_is_known_again() -> None:
    """A picture that was there two turns ago differs from the one between, and not from itself."""
    state = initial_picture_state(4, 1)
    for turn, value in enumerate((100, 150, 100)):
        _, likeness, state = shown(state, grey(value), turn)
    assert likeness[:3].tolist() == [1.0, 0.0, 0.0]
    assert likeness[LIKENESS_TURNS : LIKENESS_TURNS + 3].tolist() == [1.0, 1.0, 0.0]
    assert likeness[-1].item() == pytest.approx(np.log(50 / 255))


@given(st.lists(st.one_of(st.none(), st.integers(0, 255)), min_size=1, max_size=3 * LIKENESS_TURNS), st.integers(0, 99))
def test_likeness_against_a_list_of_all_pictures(values: list[int | None], first: int) -> None:
    state = initial_picture_state(4, 1)
    for place, value in enumerate(values):
        if value is None:
            continue
        _, likeness, state = shown(state, grey(value), first + place)
        before = [values[place - lag] if lag <= place else None for lag in range(1, LIKENESS_TURNS + 1)]
        differs = [0.0 if one is None else abs(value - one) / 255 for one in before]
        greatest = max(LEAST_DIFFERENCE, *differs)
        expected = [*(one / greatest for one in differs), *(float(one is not None) for one in before), np.log(greatest)]
        np.testing.assert_allclose(likeness.numpy(), expected, atol=1e-5)


def test_rows_do_not_mix_and_what_was_before_stays() -> None:
    """Every session as if alone, whoever is shown something, at turns of its own; looking again gives the same."""
    rng = np.random.default_rng(0)
    rows = 17
    turns = torch.from_numpy(rng.integers(0, 100, rows))
    together = initial_picture_state(4, rows)
    alone = [initial_picture_state(4, 1) for _ in range(rows)]
    for step in range(2 * LIKENESS_TURNS):
        pictures = torch.from_numpy(rng.integers(0, 256, (rows, *SHAPE)).astype(np.uint8))
        index = torch.from_numpy(np.flatnonzero(rng.random(rows) < 0.6))
        kept = together.mapped(lambda _, tensor: tensor.clone())
        seen, after = looked(together.select(index), pictures[index], turns[index] + step)
        for (name, now), (_, then) in zip(together.named(), kept.named(), strict=True):
            assert torch.equal(now, then), name
        for place, row in enumerate(index.tolist()):
            patches, likeness, alone[row] = shown(alone[row], pictures[row : row + 1], int(turns[row]) + step)
            assert torch.equal(patches, seen.patches_RNPPC[place]) and torch.equal(likeness, seen.likeness_RL[place])
        together = together.put(index, after)


def test_a_small_picture_has_the_mean_of_what_lies_under_each_of_its_pixels() -> None:
    """Of any picture, against a loop; one that is the same but for its order of pixels differs."""
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (1, *SHAPE)).astype(np.uint8) for _ in range(2))
    small = []
    for picture in (first[0], second[0]):
        means = [
            np.round(patch[down : down + SMALLER, right : right + SMALLER].mean((0, 1)))
            for patch in picture
            for down in range(0, PATCH_PIXELS, SMALLER)
            for right in range(0, PATCH_PIXELS, SMALLER)
        ]
        small.append(np.concatenate(means))
    _, _, state = shown(initial_picture_state(4, 1), torch.from_numpy(first), 0)
    _, likeness, _ = shown(state, torch.from_numpy(second), 1)
    expected = np.sqrt(((small[0] - small[1]) ** 2).mean()) / 255
    assert likeness[-1].item() == pytest.approx(np.log(expected), abs=1e-5)


def test_noise_of_the_camera_is_no_motion() -> None:
    """Shares of a difference that is noise alone would look like motion; what moves is a greater one."""
    rng = np.random.default_rng(0)
    state = initial_picture_state(4, 1)
    still = rng.integers(50, 200, (1, *SHAPE)).astype(np.int16)
    for turn in range(5):
        noisy = (still + rng.normal(0, 3, still.shape)).clip(0, 255).astype(np.uint8)
        _, likeness, state = shown(state, torch.from_numpy(noisy), turn)
    assert likeness[-1].item() == pytest.approx(np.log(LEAST_DIFFERENCE))
    assert likeness[:4].max() < 0.7
    _, likeness, _ = shown(state, torch.from_numpy(np.roll(still, 4, axis=3).astype(np.uint8)), 5)
    assert likeness[-1] > np.log(2 * LEAST_DIFFERENCE) and likeness[:5].max() == 1.0
