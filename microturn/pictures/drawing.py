"""Pictures drawn by a program: a figure before a background, seen by an imperfect camera.

Everything that stays the same in a video is drawn once, as a ``Look``; ``Camera.shoot`` then makes one picture of a
pose. Drawing happens at twice the size and is averaged down, which smooths the edges.
"""

from __future__ import annotations

import colorsys
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from microturn.pictures.figures import SHAPE_SIZE, Colour, FigureKind, Pen, Point, Pose, Shape, figures_of
from microturn.split import Split
from microturn.turn import Frame

PICTURE_SIZE = 80
"""Width and height of a drawn frame, pixels."""
OVERSAMPLING = 2
MARGIN = 8
"""Background beyond the picture's edges, pixels: what a moving camera may show."""

BACKGROUNDS: dict[Split, tuple[str, ...]] = {
    "train": ("plain", "gradient", "noise", "clutter", "room"),
    "heldout": ("stripes", "checks", "discs"),
}
HELDOUT_HUES = (0.72, 0.90)
"""Violet to pink: hues (of 0 to 1) of held-out videos, never used in training."""
LEAST_CHANGED_PIXELS = 80
"""A figure is redrawn with other colours until rest and far end differ visibly in this many pixels."""
LEAST_CHANGE = 30
"""What counts as visible: change of the brightest-changing channel, of 255."""


@dataclass(frozen=True)
class Look:
    """What stays the same in one video.

    ``matrix`` and ``centre`` place the figure (canvas pixels); ``backdrop`` is the background with its margin, uint8
    (edge, edge, 3); ``distractor`` is the path (centre, radii, period in ms), the radius and the colour of a blob that
    wanders slowly, or ``None``.
    """

    figure: FigureKind
    shape: Shape
    colours: tuple[Colour, ...]
    matrix: tuple[tuple[float, float], tuple[float, float]]
    centre: Point
    width: float
    backdrop: NDArray[np.uint8]
    jitter_pixels: float
    flicker: float
    noise: float
    jpeg_quality: int | None
    distractor: tuple[Point, Point, float, float, Colour] | None


def draw_colour(rng: np.random.Generator, split: Split) -> Colour:
    """A colour whose hue belongs to the split (greys, which have none, to both)."""
    low, high = HELDOUT_HUES
    hue = rng.uniform(low, high) if split == "heldout" else (high + rng.uniform(0.0, 1.0 - (high - low))) % 1.0
    saturation = 0.0 if rng.random() < 0.2 else rng.uniform(0.15, 1.0)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, rng.uniform(0.05, 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def _smooth_noise(rng: np.random.Generator, edge: int, grain: int) -> NDArray[np.float32]:
    """Noise of about unit size whose blobs are ``edge / grain`` pixels wide, float32 (edge, edge, 1)."""
    coarse = Image.fromarray(rng.standard_normal((grain, grain)).astype(np.float32))
    return np.asarray(coarse.resize((edge, edge), Image.Resampling.BICUBIC), np.float32)[:, :, None]


def draw_backdrop(rng: np.random.Generator, split: Split) -> NDArray[np.uint8]:
    """A background of a kind and in colours of the split, uint8 (edge, edge, 3) with the margin on every side."""
    edge = OVERSAMPLING * (PICTURE_SIZE + 2 * MARGIN)
    kind = BACKGROUNDS[split][int(rng.integers(len(BACKGROUNDS[split])))]
    first, second = (np.array(draw_colour(rng, split), np.float32) for _ in range(2))
    # A quieter pattern is more like a room than two free colours.
    second = first + (second - first) * rng.uniform(0.1, 0.7)
    down, right = np.mgrid[0:edge, 0:edge].astype(np.float32)[:, :, :, None] / edge
    angle = rng.uniform(0, 2 * math.pi)
    along = right * math.cos(angle) + down * math.sin(angle)
    if kind == "plain":
        share = np.zeros_like(along)
    elif kind == "gradient":
        share = (along - along.min()) / (along.max() - along.min())
    elif kind == "noise":
        share = 0.5 + 0.25 * _smooth_noise(rng, edge, int(rng.integers(4, 60)))
    elif kind == "stripes":
        share = (np.sin(along * rng.uniform(15, 60)) > 0).astype(np.float32)
    elif kind == "checks":
        cells = int(rng.integers(3, 12))
        share = ((down * cells).astype(int) + (right * cells).astype(int)) % 2
    else:
        share = (down > rng.uniform(0.55, 0.85)).astype(np.float32) if kind == "room" else 0.3 * down
    image = Image.fromarray(np.clip(first + (second - first) * share, 0, 255).astype(np.uint8))
    if kind in ("clutter", "discs", "room"):
        pen = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(3, 14)) if kind != "room" else int(rng.integers(1, 4))):
            x, y = rng.uniform(-0.1, 1.0, 2) * edge
            wide, tall = rng.uniform(0.05, 0.4, 2) * edge
            tint = first + (np.array(draw_colour(rng, split)) - first) * rng.uniform(0.2, 0.8)
            fill = (int(tint[0]), int(tint[1]), int(tint[2]))
            if kind == "discs":
                pen.ellipse((x, y, x + wide, y + wide), fill=fill)
            else:
                pen.rectangle((x, y, x + wide, y + tall), fill=fill)
    return np.asarray(image)


def _draw_placement(rng: np.random.Generator) -> tuple[tuple[tuple[float, float], tuple[float, float]], Point]:
    """Scale, mirror, tilt and position of a figure that stays inside the picture, in canvas pixels."""
    half = OVERSAMPLING * PICTURE_SIZE / 2
    scale = half * rng.uniform(0.6, 0.98)
    tilt = math.radians(rng.normal(0.0, 4.0))
    stretch = rng.uniform(0.85, 1.15)
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    free = half - scale
    centre = (half + rng.uniform(-free, free), half + rng.uniform(-free, free))
    cos, sin = math.cos(tilt) * scale, math.sin(tilt) * scale
    return ((mirror * stretch * cos, -sin), (mirror * stretch * sin, cos)), centre


def _draw_distractor(rng: np.random.Generator, split: Split) -> tuple[Point, Point, float, float, Colour]:
    edge = OVERSAMPLING * PICTURE_SIZE
    corner = (edge * float(rng.choice([0.08, 0.92])), edge * float(rng.choice([0.1, 0.9])))
    radii = (edge * rng.uniform(0.0, 0.15), edge * rng.uniform(0.0, 0.12))
    return corner, radii, rng.uniform(7_000, 25_000), edge * rng.uniform(0.02, 0.08), draw_colour(rng, split)


def _draw_look_once(rng: np.random.Generator, split: Split, figure: FigureKind) -> Look:
    matrix, centre = _draw_placement(rng)
    thin = rng.random() < 0.4
    single = draw_colour(rng, split)
    colours = tuple(single if thin else draw_colour(rng, split) for _ in range(5))
    clean = rng.random() < 0.3
    return Look(
        figure=figure,
        shape=rng.random(SHAPE_SIZE),
        colours=colours,
        matrix=matrix,
        centre=centre,
        width=OVERSAMPLING * (rng.uniform(1.0, 2.5) if thin else rng.uniform(2.0, 7.0)),
        backdrop=draw_backdrop(rng, split),
        jitter_pixels=0.0 if clean or rng.random() < 0.7 else rng.uniform(0.1, 1.0),
        flicker=0.0 if clean else rng.uniform(0.0, 0.03),
        noise=0.0 if clean else rng.uniform(0.0, 8.0),
        jpeg_quality=int(rng.integers(20, 70)) if not clean and rng.random() < 0.35 else None,
        distractor=_draw_distractor(rng, split) if rng.random() < 0.15 else None,
    )


def draw_look(rng: np.random.Generator, split: Split, figure: FigureKind | None = None) -> Look:
    """The look of one video: a figure of the split (or the given one) that can be seen to move before its
    background."""
    figures = figures_of(split)
    figure = figure or figures[int(rng.integers(len(figures)))]
    while True:
        look = _draw_look_once(rng, split, figure)
        rest, far = (
            np.asarray(_paint(look, pose, (0.0, 0.0), (0.0, 0.0), 0.0), np.int16)
            for pose in (Pose(0.0, 0.0), Pose(0.85, 0.5))
        )
        if (np.abs(far - rest).max(axis=2) >= LEAST_CHANGE).sum() >= LEAST_CHANGED_PIXELS:
            return look


def _paint(look: Look, pose: Pose | None, shift: Point, camera: Point, t_ms: float) -> Image.Image:
    """A clean picture, PICTURE_SIZE square. ``shift`` is the figure's offset (figure units), ``camera`` that of the
    camera (whole canvas pixels, at most the margin)."""
    edge = OVERSAMPLING * PICTURE_SIZE
    left, top = (OVERSAMPLING * MARGIN + int(offset) for offset in camera)
    canvas = Image.fromarray(np.ascontiguousarray(look.backdrop[top : top + edge, left : left + edge]))
    draw = ImageDraw.Draw(canvas)
    if look.distractor is not None:
        (x, y), (wide, tall), period_ms, radius, colour = look.distractor
        angle = 2 * math.pi * t_ms / period_ms
        x, y = x + wide * math.cos(angle) - camera[0], y + tall * math.sin(angle) - camera[1]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    if pose is not None:
        (a, b), (c, d) = look.matrix
        origin = (look.centre[0] + a * shift[0] + b * shift[1] - camera[0],
                  look.centre[1] + c * shift[0] + d * shift[1] - camera[1])  # fmt: skip
        look.figure.draw(Pen(draw, look.matrix, origin, look.width, look.colours), pose, look.shape)
    return canvas.reduce(OVERSAMPLING)


class Camera:
    """Takes pictures of one look. Hand-held sway, flicker and sensor noise go on from picture to picture."""

    def __init__(self, rng: np.random.Generator, look: Look) -> None:
        self._rng = rng
        self._look = look
        self._sway = np.zeros(2)
        self._light = 0.0

    def shoot(self, pose: Pose | None, t_ms: float, shift: Point = (0.0, 0.0)) -> Frame:
        """One picture, uint8 (PICTURE_SIZE, PICTURE_SIZE, 3), of the figure in ``pose`` (``None``: no figure).

        ``shift`` moves the figure (figure units, 2 is the whole square); ``t_ms`` moves the distractor.
        """
        look, rng = self._look, self._rng
        self._sway = 0.9 * self._sway + rng.normal(0.0, 0.44 * look.jitter_pixels, 2)
        self._light = 0.8 * self._light + rng.normal(0.0, 0.6 * look.flicker)
        limit = float(OVERSAMPLING * MARGIN)
        across, down = np.clip(np.round(self._sway * OVERSAMPLING), -limit, limit).tolist()
        image = _paint(look, pose, shift, (across, down), t_ms)
        if look.flicker or look.noise:
            pixels = np.asarray(image, np.float32) * (1.0 + self._light)
            if look.noise:
                pixels += rng.standard_normal(pixels.shape, np.float32) * look.noise
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        if look.jpeg_quality is not None:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=look.jpeg_quality)
            image = Image.open(buffer)
        return np.array(image)
