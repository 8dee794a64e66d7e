"""Figures that do something repeatedly: stick people exercising and simple machines, drawn with lines and discs.

A figure lives in a square from -1 to 1 (y downwards). Its pose is an extension (0 at rest, 1 at the far end of a
repetition) and, for figures that go round, a turn from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from microturn.split import Split

Point = tuple[float, float]
Colour = tuple[int, int, int]
Shape = NDArray[np.float64]
"""What is particular to one figure: 32 numbers in [0, 1), fixed for a video."""
SHAPE_SIZE = 32

HEAD, BODY, ARM, LEG, THING = range(5)
"""Parts of a figure; each has a colour."""


@dataclass(frozen=True)
class Pose:
    """Where a figure is in its repetition; ``side`` alternates between 1 and -1 from one repetition to the next."""

    extension: float
    turn: float
    side: int = 1


@dataclass(frozen=True)
class Pen:
    """Draws in figure coordinates on a canvas: ``matrix`` (2, 2) and ``origin`` (2,) map them to canvas pixels.

    ``width`` is the thickness of a line in canvas pixels, ``colours`` has one colour for each part.
    """

    draw: ImageDraw.ImageDraw
    matrix: tuple[tuple[float, float], tuple[float, float]]
    origin: Point
    width: float
    colours: tuple[Colour, ...]

    def place(self, point: Point) -> Point:
        """Canvas pixels of a point of the figure."""
        (a, b), (c, d) = self.matrix
        return a * point[0] + b * point[1] + self.origin[0], c * point[0] + d * point[1] + self.origin[1]

    def line(self, points: tuple[Point, ...], part: int, width: float = 1.0) -> None:
        """A line through ``points`` with round ends."""
        pixels = [self.place(point) for point in points]
        thickness = max(2, round(self.width * width))
        self.draw.line(pixels, fill=self.colours[part], width=thickness, joint="curve")
        if thickness > 3:
            half = thickness / 2 - 0.5
            for x, y in (pixels[0], pixels[-1]):
                self.draw.ellipse((x - half, y - half, x + half, y + half), fill=self.colours[part])

    def disc(self, centre: Point, radius: float, part: int, filled: bool = True) -> None:
        """A disc or a ring; ``radius`` in figure units."""
        x, y = self.place(centre)
        pixels = radius * math.hypot(self.matrix[0][0], self.matrix[1][0])
        box = (x - pixels, y - pixels, x + pixels, y + pixels)
        if filled:
            self.draw.ellipse(box, fill=self.colours[part])
        else:
            self.draw.ellipse(box, outline=self.colours[part], width=max(2, round(self.width * 0.7)))

    def area(self, points: tuple[Point, ...], part: int) -> None:
        """A filled polygon."""
        self.draw.polygon([self.place(point) for point in points], fill=self.colours[part])


def _mix(rest: float, far: float, amount: float) -> float:
    return rest + (far - rest) * amount


def _toward(start: Point, angle_deg: float, length: float) -> Point:
    """The point ``length`` away; 0 degrees points right, 90 degrees down."""
    angle = math.radians(angle_deg)
    return start[0] + length * math.cos(angle), start[1] + length * math.sin(angle)


def _between(start: Point, end: Point, share: float) -> Point:
    return _mix(start[0], end[0], share), _mix(start[1], end[1], share)


def _bend(start: Point, end: Point, length: float, direction: int) -> Point:
    """Knee or elbow between two ends, both limbs ``length`` long; ``direction`` 1 or -1 says to which side."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    span = max(1e-6, math.hypot(dx, dy))
    height = math.sqrt(max(0.0, length**2 - (span / 2) ** 2)) * direction
    return (start[0] + end[0]) / 2 - dy / span * height, (start[1] + end[1]) / 2 + dx / span * height


def _head(pen: Pen, shoulder: Point, angle_deg: float, shape: Shape) -> None:
    """Head at the end of the neck, above a shoulder; ``angle_deg`` is where the head points."""
    radius = 0.12 + 0.06 * shape[0]
    pen.disc(_toward(shoulder, angle_deg, radius + 0.07), radius, HEAD, filled=shape[1] > 0.25)


def _squats(pen: Pen, pose: Pose, shape: Shape) -> None:
    e = pose.extension
    foot, limb = (0.0, 0.95), 0.36 + 0.06 * shape[2]
    hip = (_mix(0.0, -0.34, e), _mix(0.95 - 1.98 * limb, 0.62, e))
    lean = _mix(-90, -62 + 25 * shape[3], e)
    shoulder = _toward(hip, lean, 0.6)
    pen.line((hip, _bend(hip, foot, limb, -1), foot, (0.16, 0.95)), LEG)
    pen.line((shoulder, hip), BODY, 1.3)
    hand = _toward(shoulder, _mix(88, 0, e), 0.55) if shape[4] > 0.4 else _toward(shoulder, 10 + lean / 6, 0.5)
    pen.line((shoulder, _bend(shoulder, hand, 0.29, 1), hand), ARM)
    if shape[5] > 0.7:
        pen.line((_toward(shoulder, 180, 0.3), _toward(shoulder, 0, 0.3)), THING)
    _head(pen, shoulder, lean, shape)


def _push_ups(pen: Pen, pose: Pose, shape: Shape) -> None:
    foot, hand = (-0.95, 0.6), (0.42, 0.62)
    shoulder = (0.42 - 0.06 * pose.extension, _mix(-0.04, 0.5, pose.extension))
    hip = _between(shoulder, foot, 0.45)
    pen.line((hip, foot), LEG)
    pen.line((shoulder, hip), BODY, 1.3)
    pen.line((shoulder, _bend(shoulder, hand, 0.34, -1), hand), ARM)
    _head(pen, shoulder, -25 + 15 * shape[2], shape)


def _sit_ups(pen: Pen, pose: Pose, shape: Shape) -> None:
    hip, foot = (0.1, 0.6), (0.75, 0.62)
    # Some lie at rest, some sit: RepCount-A has both.
    risen = pose.extension if shape[5] > 0.4 else 1.0 - pose.extension
    angle = _mix(-178, -95 + 25 * shape[2], risen)
    shoulder = _toward(hip, angle, 0.68)
    pen.line((hip, _bend(hip, foot, 0.45, -1), foot), LEG)
    pen.line((hip, shoulder), BODY, 1.3)
    hand = _toward(shoulder, angle + 40 + 110 * shape[3], 0.28 + 0.2 * shape[4])
    pen.line((shoulder, _bend(shoulder, hand, 0.26, 1), hand), ARM)
    _head(pen, shoulder, angle, shape)


def _jumping_jacks(pen: Pen, pose: Pose, shape: Shape) -> None:
    e = pose.extension
    hop = 0.25 * e * (1 - e)
    hip, shoulder = (0.0, 0.15 - hop), (0.0, -0.42 - hop)
    reach, stride = 0.5 + 0.1 * shape[2], 0.25 + 0.3 * shape[3]
    for side in (-1, 1):
        foot = (side * _mix(0.08, stride, e), 0.93 - hop + 0.02 * e)
        pen.line((hip, foot), LEG)
        angle = 90 - side * _mix(10, 150 + 25 * shape[4], e)
        pen.line(((side * 0.1, shoulder[1]), _toward((side * 0.1, shoulder[1]), angle, reach)), ARM)
    pen.line((shoulder, hip), BODY, 1.6)
    _head(pen, shoulder, -90, shape)


def _pull_ups(pen: Pen, pose: Pose, shape: Shape) -> None:
    bar, grip = -0.88, 0.22 + 0.15 * shape[2]
    shoulder = (0.0, _mix(-0.32, -0.72, pose.extension))
    hip = (0.0, shoulder[1] + 0.56)
    pen.line(((-0.9, bar), (0.9, bar)), THING)
    for side in (-1, 1):
        joint, hand = (side * 0.12, shoulder[1]), (side * grip, bar)
        pen.line((joint, _bend(joint, hand, 0.3, side), hand), ARM)
        foot = (side * 0.1 + 0.12 * shape[3], hip[1] + 0.62)
        pen.line((hip, _bend(hip, foot, 0.34, -1), foot), LEG)
    pen.line((shoulder, hip), BODY, 1.6)
    _head(pen, shoulder, -90, shape)


def _front_raises(pen: Pen, pose: Pose, shape: Shape) -> None:
    hip, shoulder = (0.0, 0.12), (0.02, -0.48)
    for foot in (-0.1, 0.12):
        pen.line((hip, (foot, 0.93)), LEG)
    pen.line((shoulder, hip), BODY, 1.6)
    _head(pen, shoulder, -90, shape)
    angle = _mix(85, -10 - 50 * shape[2], pose.extension)
    hand = _toward(shoulder, angle, 0.6)
    pen.line((shoulder, hand), ARM)
    if shape[3] > 0.3:
        pen.disc(hand, 0.07 + 0.06 * shape[4], THING)


def _curls(pen: Pen, pose: Pose, shape: Shape) -> None:
    hip, shoulder = (0.0, 0.12), (0.0, -0.48)
    for side in (-1, 1):
        pen.line((hip, (side * 0.15, 0.93)), LEG)
        joint = (side * 0.16, shoulder[1])
        elbow = _toward(joint, 90 - side * (8 + 20 * shape[2]), 0.36)
        alone = shape[3] > 0.6 and side != pose.side
        hand = _toward(elbow, 90 - side * _mix(20, 150, 0.0 if alone else pose.extension), 0.36)
        pen.line((joint, elbow, hand), ARM)
        pen.disc(hand, 0.09 + 0.05 * shape[4], THING)
    pen.line((shoulder, hip), BODY, 1.8)
    _head(pen, shoulder, -90, shape)


def _bench_presses(pen: Pen, pose: Pose, shape: Shape) -> None:
    bench, shoulder, hip = 0.42, (-0.42, 0.3), (0.2, 0.3)
    pen.line(((-0.8, bench), (0.3, bench)), THING, 1.4)
    pen.line((hip, _bend(hip, (0.55, 0.9), 0.42, -1), (0.55, 0.9)), LEG)
    pen.line((shoulder, hip), BODY, 1.5)
    hand = (-0.4, _mix(-0.42, 0.16, pose.extension))
    pen.line((shoulder, _bend(shoulder, hand, 0.37, -1), hand), ARM)
    pen.disc(hand, 0.16 + 0.1 * shape[2], THING, filled=shape[3] > 0.5)
    _head(pen, shoulder, 180, shape)


def _lunges(pen: Pen, pose: Pose, shape: Shape) -> None:
    e = pose.extension
    side = pose.side if shape[2] > 0.5 else 1
    hip = (side * 0.12 * e, _mix(0.12, 0.42, e))
    shoulder = (hip[0], hip[1] - 0.58)
    front, back = (side * _mix(0.06, 0.55, e), 0.93), (side * _mix(-0.06, -0.5, e), 0.93)
    pen.line((hip, _bend(hip, front, 0.41, -side), front), LEG)
    pen.line((hip, _bend(hip, back, 0.41, -side), back), LEG)
    pen.line((shoulder, hip), BODY, 1.5)
    hand = (hip[0] + 0.16, hip[1])
    pen.line((shoulder, _bend(shoulder, hand, 0.32, -1), hand), ARM)
    _head(pen, shoulder, -90, shape)


def _leg_raises(pen: Pen, pose: Pose, shape: Shape) -> None:
    hip, shoulder = (0.0, 0.5), (-0.6, 0.5)
    pen.line((hip, _toward(hip, _mix(0, -70 - 25 * shape[2], pose.extension), 0.8)), LEG)
    pen.line((shoulder, hip), BODY, 1.4)
    pen.line((shoulder, (-0.15, 0.6)), ARM)
    _head(pen, shoulder, 180, shape)


def _knee_lifts(pen: Pen, pose: Pose, shape: Shape) -> None:
    hip, shoulder = (0.0, 0.12), (0.0, -0.48)
    for side in (-1, 1):
        lift = pose.extension if side == pose.side else 0.0
        foot = (side * 0.12 + (0.1 + 0.2 * shape[2]) * lift, _mix(0.93, 0.45, lift))
        pen.line((hip, _bend(hip, foot, 0.41, -1), foot), LEG)
        hand = (side * 0.3, _mix(0.15, -0.3, lift if shape[3] > 0.5 else 0.0))
        pen.line((shoulder, _bend(shoulder, hand, 0.36, -side), hand), ARM)
    pen.line((shoulder, hip), BODY, 1.6)
    _head(pen, shoulder, -90, shape)


def _side_bends(pen: Pen, pose: Pose, shape: Shape) -> None:
    hip = (0.0, 0.15)
    tilt = -90 + (25 + 35 * shape[2]) * pose.extension * (pose.side if shape[3] > 0.5 else 1)
    shoulder = _toward(hip, tilt, 0.6)
    for side in (-1, 1):
        pen.line((hip, (side * 0.25, 0.93)), LEG)
        pen.line((shoulder, _toward(shoulder, tilt + side * (20 + 130 * shape[4]), 0.5)), ARM)
    pen.line((shoulder, hip), BODY, 1.6)
    _head(pen, shoulder, tilt, shape)


def _waves(pen: Pen, pose: Pose, shape: Shape) -> None:
    """A hand: palm, fingers, and the forearm that swings."""
    wrist = _toward((0.0, 0.95), _mix(-55 - 20 * shape[2], -130 + 20 * shape[3], pose.extension), 0.9)
    angle = math.degrees(math.atan2(wrist[1] - 0.95, wrist[0]))
    palm = _toward(wrist, angle, 0.2)
    pen.line(((0.0, 0.95), wrist), ARM, 2.2)
    pen.disc(palm, 0.2, HEAD)
    for spread in (-50, -18, 14, 45):
        pen.line((palm, _toward(palm, angle + spread, 0.42)), HEAD)


def _bounces(pen: Pen, pose: Pose, shape: Shape) -> None:
    radius = 0.12 + 0.2 * shape[2]
    height = 0.85 - radius
    pen.line(((-0.95, 0.88), (0.95, 0.88)), BODY)
    far = _mix(height, -0.95 + radius, 0.6 + 0.4 * shape[3])
    pen.disc((0.0, _mix(height, far, pose.extension)), radius, THING, filled=shape[4] > 0.2)


def _swings(pen: Pen, pose: Pose, shape: Shape) -> None:
    pivot = (0.0, -0.85)
    reach = 25 + 35 * shape[2]
    bob = _toward(pivot, 90 + _mix(reach, -reach, pose.extension), 1.3)
    pen.line(((-0.4, -0.85), (0.4, -0.85)), BODY)
    pen.line((pivot, bob), ARM, 0.7)
    pen.disc(bob, 0.14 + 0.12 * shape[3], THING)


def _strokes(pen: Pen, pose: Pose, shape: Shape) -> None:
    half, low, high = 0.2 + 0.25 * shape[2], 0.6, -0.1 - 0.5 * shape[3]
    head = _mix(low, high, pose.extension)
    pen.line(((-half, -0.9), (-half, 0.9), (half, 0.9), (half, -0.9)), BODY)
    pen.area(((-half, head), (half, head), (half, head + 0.24), (-half, head + 0.24)), THING)
    pen.line(((0.0, head), (0.0, head - 0.75)), ARM)


def _pulls(pen: Pen, pose: Pose, shape: Shape) -> None:
    """A lever on a stand."""
    pivot = (0.0, 0.45)
    knob = _toward(pivot, _mix(-140 + 20 * shape[2], -45 + 30 * shape[3], pose.extension), 1.1)
    pen.area(((-0.5, 0.9), (-0.3, 0.45), (0.3, 0.45), (0.5, 0.9)), BODY)
    pen.line((pivot, knob), ARM, 1.2)
    pen.disc(knob, 0.13 + 0.08 * shape[4], THING)


def _rounds(pen: Pen, pose: Pose, shape: Shape) -> None:
    """The hand of a clock: a repetition is one time round."""
    radius = 0.7 + 0.2 * shape[2]
    start = (-90, 0, 90, 180)[int(shape[3] * 4)]
    pen.disc((0.0, 0.0), radius, BODY, filled=shape[4] > 0.5)
    mark = _toward((0.0, 0.0), start, radius)
    pen.disc(mark, 0.1, LEG)
    tip = _toward((0.0, 0.0), start + 360 * pose.turn, radius * 0.85)
    pen.line(((0.0, 0.0), tip), ARM, 1.5)
    if shape[5] > 0.5:
        pen.disc(tip, 0.14, THING)


def _turns(pen: Pen, pose: Pose, shape: Shape) -> None:
    """A ball that runs round another one."""
    centre = _toward((0.0, 0.0), 360 * shape[2] + 360 * pose.turn, 0.72)
    pen.disc((0.0, 0.0), 0.15 + 0.25 * shape[3], BODY)
    pen.disc(centre, 0.12 + 0.14 * shape[4], THING, filled=shape[5] > 0.2)


def _pulses(pen: Pen, pose: Pose, shape: Shape) -> None:
    small, large = 0.15 + 0.25 * shape[2], 0.7 + 0.25 * shape[3]
    rest, far = (small, large) if shape[4] > 0.4 else (large, small)
    pen.disc((0.0, 0.0), _mix(rest, far, pose.extension), THING, filled=shape[5] > 0.2)


def _slides(pen: Pen, pose: Pose, shape: Shape) -> None:
    """A block on a rail."""
    half, tall = 0.15 + 0.15 * shape[2], 0.15 + 0.25 * shape[3]
    x = _mix(-0.9 + half, 0.9 - half, pose.extension)
    pen.line(((-0.95, 0.3), (0.95, 0.3)), BODY)
    pen.area(((x - half, 0.3), (x + half, 0.3), (x + half, 0.3 - 2 * tall), (x - half, 0.3 - 2 * tall)), THING)


def _openings(pen: Pen, pose: Pose, shape: Shape) -> None:
    """Two doors in a frame that slide apart or shut."""
    e = pose.extension if shape[2] > 0.5 else 1.0 - pose.extension
    gap = _mix(0.04, 0.55, e)
    pen.area(((-0.9, -0.8), (0.9, -0.8), (0.9, 0.85), (-0.9, 0.85)), BODY)
    for side in (-1, 1):
        pen.area(((side * gap, -0.7), (side * 0.8, -0.7), (side * 0.8, 0.85), (side * gap, 0.85)), THING)


def _moves(pen: Pen, pose: Pose, shape: Shape) -> None:
    """A machine or creature made up from the shape: a few jointed limbs that turn between two angles."""
    root = ((shape[2] - 0.5) * 0.6, (shape[3] - 0.5) * 0.6)
    if shape[4] > 0.5:
        pen.disc(root, 0.12 + 0.3 * shape[5], BODY, filled=shape[6] > 0.3)
    limbs = 1 + int(shape[7] * 4)
    for limb in range(limbs):
        own = shape[8 + 6 * limb : 14 + 6 * limb]
        angle = 360 * own[0] + pose.extension * 240 * (own[1] - 0.5)
        middle = _toward(root, angle, 0.3 + 0.3 * own[2])
        end = _toward(middle, angle + 200 * (own[3] - 0.5) + pose.extension * 260 * (own[4] - 0.5), 0.2 + 0.4 * own[5])
        pen.line((root, middle, end), (ARM, LEG)[limb % 2], 0.7 + own[2])
        if own[5] > 0.5:
            pen.disc(end, 0.06 + 0.14 * own[3], (THING, HEAD)[limb % 2])


@dataclass(frozen=True)
class FigureKind:
    """A figure: what its repetitions are called, how it is drawn, in which split it may appear."""

    spoken: str
    draw: Callable[[Pen, Pose, Shape], None]
    split: Split


_FIGURES: dict[Split, tuple[Callable[[Pen, Pose, Shape], None], ...]] = {
    "train": (
        _squats, _push_ups, _sit_ups, _jumping_jacks, _front_raises, _curls, _lunges, _leg_raises, _knee_lifts,
        _side_bends, _waves, _bounces, _strokes, _pulls, _rounds, _turns, _pulses, _slides, _openings, _moves,
    ),
    "heldout": (_pull_ups, _bench_presses, _swings),
}  # fmt: skip
"""The figures of each split; a function is named as its repetitions are called."""


FIGURES = tuple(
    FigureKind(draw.__name__.strip("_").replace("_", " "), draw, split)
    for split, figures in _FIGURES.items()
    for draw in figures
)
"""All figures. The held-out ones are never drawn in training."""


def figures_of(split: Split) -> tuple[FigureKind, ...]:
    """The figures of one split."""
    return tuple(figure for figure in FIGURES if figure.split == split)
