"""A PNG written in strips is the picture that was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.media.png import write_png
from microturn.media.reader import load_picture


@settings(max_examples=25, deadline=None)
@given(heights=st.lists(st.integers(1, 30), min_size=1, max_size=6), width=st.integers(1, 50), seed=st.integers(0, 9))
def test_strips_make_the_picture(
    tmp_path_factory: pytest.TempPathFactory, heights: list[int], width: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("png") / "a.png"
    picture = np.random.default_rng(seed).integers(0, 256, (sum(heights), width, 3), np.uint8)
    write_png(path, width, 150, np.split(picture, np.cumsum(heights)[:-1]))
    np.testing.assert_array_equal(load_picture(path), picture)


def test_drawings_are_small(tmp_path: Path) -> None:
    strip = np.full((400, 600, 3), 255, np.uint8)
    strip[100:300, 50:500] = (47, 111, 179)
    write_png(tmp_path / "a.png", 600, 150, [strip])
    assert (tmp_path / "a.png").stat().st_size < strip.size / 100
