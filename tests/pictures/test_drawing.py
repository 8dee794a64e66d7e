"""Drawn pictures: every figure moves visibly, looks are repeatable, and held-out looks stay out of training."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from microturn.pictures.drawing import (
    BACKGROUNDS,
    HELDOUT_HUES,
    LEAST_CHANGE,
    PICTURE_SIZE,
    Camera,
    draw_backdrop,
    draw_colour,
    draw_look,
)
from microturn.pictures.figures import FIGURES, FigureKind, Pose, figures_of
from microturn.split import Split


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.spoken)
def test_every_figure_moves_visibly_and_comes_back(figure: FigureKind) -> None:
    rng = np.random.default_rng(5)
    for _ in range(4):
        look = draw_look(rng, figure.split, figure)
        shots = {}
        for name, pose in {"rest": Pose(0.0, 0.0), "far": Pose(0.9, 0.5), "back": Pose(0.0, 1.0)}.items():
            # A camera of its own with the same seed: the same sway and the same noise for every pose.
            shots[name] = Camera(np.random.default_rng(1), look).shoot(pose, 0.0).astype(int)
            assert shots[name].shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
        moved = np.abs(shots["far"] - shots["rest"]).max(axis=2) >= LEAST_CHANGE // 2
        assert moved.sum() >= 60
        assert np.abs(shots["back"] - shots["rest"]).max() <= 2


def test_the_same_seed_gives_the_same_pictures_and_another_one_others() -> None:
    def shots(seed: int) -> list[bytes]:
        rng = np.random.default_rng(seed)
        camera = Camera(rng, draw_look(rng, "train"))
        return [camera.shoot(Pose(share, share), 200.0 * turn).tobytes() for turn, share in enumerate((0.0, 0.4, 1.0))]

    assert shots(1) == shots(1)
    assert shots(1) != shots(2)


def test_frames_are_own_writable_bytes() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        frame = Camera(rng, draw_look(rng, "heldout")).shoot(None, 0.0)
        assert frame.dtype == np.uint8 and frame.flags.writeable and frame.flags.c_contiguous


def test_held_out_figures_backgrounds_and_hues_are_never_used_in_training() -> None:
    rng = np.random.default_rng(0)
    held_out = {figure.spoken for figure in figures_of("heldout")}
    assert len(held_out) >= 2
    assert not held_out & {figure.spoken for figure in figures_of("train")}
    assert not set(BACKGROUNDS["train"]) & set(BACKGROUNDS["heldout"])
    split: Split
    for split in ("train", "heldout"):
        for _ in range(100):
            look = draw_look(rng, split)
            assert (look.figure.spoken in held_out) == (split == "heldout")
        for _ in range(500):
            hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in draw_colour(rng, split)))
            if saturation > 0.3 and value > 0.3:
                inside = HELDOUT_HUES[0] - 0.02 <= hue <= HELDOUT_HUES[1] + 0.02
                at_edge = min(abs(hue - edge) for edge in HELDOUT_HUES) < 0.02
                assert at_edge or inside == (split == "heldout")


def test_backgrounds_are_not_all_plain() -> None:
    rng = np.random.default_rng(0)
    spreads = [draw_backdrop(rng, "train").std(axis=(0, 1)).max() for _ in range(60)]
    assert min(spreads) == 0.0
    assert np.median(spreads) > 3.0


def test_a_hidden_figure_leaves_the_background() -> None:
    rng = np.random.default_rng(2)
    look = draw_look(rng, "train")
    with_figure = Camera(np.random.default_rng(0), look).shoot(Pose(0.0, 0.0), 0.0).astype(int)
    without = Camera(np.random.default_rng(0), look).shoot(None, 0.0).astype(int)
    assert (np.abs(with_figure - without).max(axis=2) > 10).sum() > 30
