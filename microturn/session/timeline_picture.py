"""The picture of a session on the turn clock: both voices, words, speak and listen, acts, frames, gaps.

Long sessions are wrapped into rows. Each row is drawn apart, as high as its contents need, and written before the
next: a long session needs no more memory than a short one. Everything is placed in inches, so that words can be kept
from overlapping by their measured widths.

What comes in during turn *t* is drawn at that turn; what goes out of it is drawn one turn later, where it is heard.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from microturn.media.png import write_png
from microturn.session.timeline import ENVELOPE_BINS, Label, Timeline
from microturn.turn import TURN_MS

TURN_S = TURN_MS / 1000.0
TURNS_PER_SECOND = 1000 // TURN_MS
DPI = 150
WIDTH = 15.0
LEFT, RIGHT = 0.95, 0.25
"""Margins beside the clock, in inches like every length in this file."""
HEADER_HEIGHT = 0.62
WAVE_HEIGHT = 0.62
BAND_HEIGHT = 0.13
WORD_HEIGHT = 0.2
TYPED_HEIGHT = 0.27
THUMBNAIL_HEIGHT = 0.62
PAD = 0.08
ROW_GAP = 0.16
AXIS_HEIGHT = 0.3
LONGEST_ROW_S = 20.0
MAX_ROWS = 120
WORD_GAP = 0.07
WORD_SIZE = 10.5
QUIETEST_PEAK = 0.05
"""A voice fills its lane with its loudest moment, unless that is as quiet as noise."""

PAPER = "#ffffff"
INK = "#26323d"
FAINT = "#8a97a3"
GRID = "#e9edf1"
USER = "#2f6fb3"
USER_LIGHT = "#e8f0f9"
MODEL = "#d9622b"
MODEL_LIGHT = "#fdf0e9"
LISTEN = "#dde3e9"
TYPED = "#3c8d6b"
ACT = "#7a4fb5"
GAP = "#c3ccd5"
HATCHED = {"facecolor": PAPER, "edgecolor": GAP, "hatch": "//////", "linewidth": 0.0}


@dataclass(frozen=True)
class Row:
    """A stretch of the clock: drawn from ``start_turn`` to ``end_turn`` (exclusive) at ``inches_per_turn``."""

    start_turn: int
    end_turn: int
    inches_per_turn: float

    def x(self, turn: float) -> float:
        """Where the start of ``turn`` lies."""
        return LEFT + (turn - self.start_turn) * self.inches_per_turn

    def holds(self, turn: float) -> bool:
        """Whether ``turn`` is drawn in this row."""
        return self.start_turn <= turn < self.end_turn


@dataclass(frozen=True)
class Placed:
    """A word at its place: ``level`` 0 is next to the sound; it starts at ``left`` and points at ``anchor``."""

    text: str
    left: float
    anchor: float
    level: int


def rows_of(num_turns: int) -> list[Row]:
    """Rows of equal length, at most ``LONGEST_ROW_S`` unless that makes more than ``MAX_ROWS``."""
    # One turn more than the session: the sound of the last turn is heard after it.
    turns = num_turns + 1
    num_rows = min(MAX_ROWS, math.ceil(turns * TURN_S / LONGEST_ROW_S))
    length = turns if num_rows == 1 else math.ceil(turns / num_rows / TURNS_PER_SECOND) * TURNS_PER_SECOND
    scale = (WIDTH - LEFT - RIGHT) / length
    return [Row(start, start + length, scale) for start in range(0, turns, length)]


def place_words(
    words: Sequence[tuple[str, float]], width_of: Callable[[str], float], limits: tuple[float, float], ends_at: bool
) -> list[Placed]:
    """Put each word (text, anchor) on the lowest level where it does not overlap an earlier one.

    A word starts at its anchor, or with ``ends_at`` ends there; it is moved as far as it must to stay within
    ``limits``.
    """
    placed: list[Placed] = []
    level_ends: list[float] = []
    for text, anchor in sorted(words, key=lambda word: word[1]):
        width = width_of(text)
        left = anchor - width if ends_at else anchor
        left = max(limits[0], min(left, limits[1] - width))
        level = next((i for i, end in enumerate(level_ends) if left >= end + WORD_GAP), len(level_ends))
        level_ends[level : level + 1] = [left + width]
        placed.append(Placed(text, left, anchor, level))
    return placed


def draw_timeline(timeline: Timeline, path: Path) -> None:
    """Draw ``timeline`` as a PNG. Raises ``OSError`` if ``path`` cannot be written."""
    with warnings.catch_warnings():
        # A character that the font does not have is drawn as a box: nothing that anybody could put right.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        rows = (_RowDrawing(timeline, row).draw() for row in rows_of(timeline.num_turns))
        write_png(path, round(WIDTH * DPI), DPI, chain([_header(timeline)], rows))


class _Strip:
    """An empty strip of the page with inches as coordinates, the origin at its lower left."""

    def __init__(self, height: float) -> None:
        figure = Figure(figsize=(WIDTH, round(height * DPI) / DPI), dpi=DPI, facecolor=PAPER)
        self.canvas: Any = FigureCanvasAgg(figure)
        self.axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0.0, WIDTH), ylim=(0.0, height))

    def text(self, x: float, y: float, text: str, **style: Any) -> Text:
        """Write ``text`` as it is, formulas too."""
        return self.axes.text(x, y, text, **{"parse_math": False, "size": WORD_SIZE, "va": "center", **style})

    def text_width(self, text: str, **style: Any) -> float:
        """How wide ``text`` would be."""
        probe = self.text(0.0, 0.0, text, **style)
        width = probe.get_window_extent().width / DPI
        probe.remove()
        return float(width)

    def box(self, x: float, y: float, width: float, height: float, **style: Any) -> None:
        """A rectangle from its lower left corner."""
        self.axes.add_patch(Rectangle((x, y), width, height, **style))

    def pixels(self) -> NDArray[np.uint8]:
        """The strip (height, width, 3)."""
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba(), np.uint8)[:, :, :3]


def _header(timeline: Timeline) -> NDArray[np.uint8]:
    """Title, length, and the key to the colours that occur."""
    strip = _Strip(HEADER_HEIGHT)
    middle = HEADER_HEIGHT / 2 - 0.02
    title: dict[str, Any] = {"size": 14, "weight": "bold"}
    strip.text(0.3, middle, timeline.title, color=INK, **title)
    right = 0.3 + strip.text_width(timeline.title, **title)
    detail = f"{timeline.num_turns * TURN_S:.1f} s, {timeline.num_turns} turns of {TURN_MS} ms"
    strip.text(right + 0.18, middle - 0.015, detail, size=10, color=FAINT)
    key: list[tuple[str, float, dict[str, Any]]] = [
        ("user", 0.2, {"facecolor": USER}),
        ("model", 0.2, {"facecolor": MODEL}),
        ("speaks", BAND_HEIGHT, {"facecolor": MODEL}),
        ("listens", BAND_HEIGHT, {"facecolor": LISTEN}),
    ]
    if any(timeline.gaps):
        key.append(("gap: no sound came in", 0.2, HATCHED))
    if timeline.typed:
        key.append(("typed", 0.2, {"facecolor": PAPER, "edgecolor": TYPED, "linewidth": 1.0}))
    if timeline.acts:
        key.append(("act", 0.2, {"facecolor": ACT}))
    x = WIDTH - RIGHT
    for name, height, style in reversed(key):
        x -= strip.text_width(name, size=10)
        strip.text(x, middle - 0.015, name, size=10, color=INK)
        strip.box(x - 0.4, middle - height / 2, 0.32, height, **style)
        x -= 0.62
    return strip.pixels()


class _RowDrawing:
    """One row, from the clock at its foot up to the pictures at its head."""

    def __init__(self, timeline: Timeline, row: Row) -> None:
        self.timeline = timeline
        self.row = row
        # One turn more than the session: the sound of the last turn is heard after it.
        self.last_turn = min(row.end_turn, timeline.num_turns + 1)

    def draw(self) -> NDArray[np.uint8]:
        """The row as pixels."""
        timeline, row = self.timeline, self.row
        measure = _Strip(1.0).text_width

        def placed(labels: list[Label], delay_turns: int, *, ends_at: bool = False, extra: float = 0.0) -> list[Placed]:
            # A word that ends at a row's edge belongs to the row in which it was spoken.
            words = [(text, row.x(at + delay_turns)) for at, text in labels if row.holds(at + delay_turns - ends_at)]
            return place_words(words, lambda text: measure(text) + extra, (LEFT, WIDTH - RIGHT + 0.1), ends_at)

        heard = placed(timeline.heard, 1, ends_at=True)
        said = placed(timeline.said, 1)
        typed = placed(timeline.typed, 0, extra=0.16)
        thumbnails = [(turn, one) for turn, one in timeline.thumbnails.items() if row.holds(turn)]

        clock_y = AXIS_HEIGHT
        model_y = clock_y + max(1, _levels(said)) * WORD_HEIGHT + 0.06 + WAVE_HEIGHT / 2
        band_y = model_y + WAVE_HEIGHT / 2 + PAD / 2
        user_y = band_y + BAND_HEIGHT + PAD / 2 + WAVE_HEIGHT / 2
        typed_y = user_y + WAVE_HEIGHT / 2 + max(1, _levels(heard)) * WORD_HEIGHT + 0.06
        pictures_y = typed_y + _levels(typed) * TYPED_HEIGHT
        self.strip = _Strip(pictures_y + (THUMBNAIL_HEIGHT + PAD if thumbnails else 0.0) + ROW_GAP)
        self._clock(clock_y, pictures_y)
        self._lane(user_y, USER, USER_LIGHT, "user", timeline.user, 0)
        self._lane(model_y, MODEL, MODEL_LIGHT, "model", timeline.model, 1)
        self._gaps(user_y)
        self._band(band_y)
        self._words(heard, user_y + WAVE_HEIGHT / 2 + 0.03, 1.0, USER)
        self._words(said, model_y - WAVE_HEIGHT / 2 - 0.03, -1.0, MODEL)
        frame = {"boxstyle": "round,pad=0.22", "facecolor": PAPER, "edgecolor": TYPED, "linewidth": 1.0}
        for word in typed:
            y = typed_y + word.level * TYPED_HEIGHT + TYPED_HEIGHT / 2
            self.strip.text(word.left + 0.08, y, word.text, color=TYPED, zorder=4, bbox=frame)
        self._pictures(thumbnails, pictures_y + PAD / 2)
        return self.strip.pixels()

    def _clock(self, bottom: float, top: float) -> None:
        """A line for each second, a tick for each turn, numbers where they have room."""
        row, axes = self.row, self.strip.axes
        every_s = next(step for step in (1, 2, 5, 10, 30, 60) if step * TURNS_PER_SECOND * row.inches_per_turn > 0.45)
        turns = range(row.start_turn, self.last_turn + 1)
        seconds = [turn for turn in turns if turn % TURNS_PER_SECOND == 0]
        axes.hlines([bottom], LEFT, row.x(self.last_turn), color=FAINT, linewidth=0.8)
        axes.vlines([row.x(turn) for turn in turns], bottom - 0.03, bottom, color=FAINT, linewidth=0.5)
        axes.vlines([row.x(turn) for turn in seconds], bottom - 0.06, bottom, color=FAINT, linewidth=0.8)
        axes.vlines([row.x(turn) for turn in seconds], bottom, top, color=GRID, linewidth=0.8, zorder=0)
        by_minutes = self.timeline.num_turns * TURN_S >= 60
        for turn in seconds:
            second = turn // TURNS_PER_SECOND
            if second % every_s == 0:
                name = f"{second // 60}:{second % 60:02d}" if by_minutes else f"{second} s"
                self.strip.text(row.x(turn), bottom - 0.09, name, size=9, color=FAINT, ha="center", va="top")

    def _lane(
        self, y: float, color: str, light: str, name: str, peaks: list[NDArray[np.float32]], delay_turns: int
    ) -> None:
        """A voice on its lighter ground, drawn where it is heard."""
        row = self.row
        width = row.x(self.last_turn) - LEFT
        self.strip.box(LEFT, y - WAVE_HEIGHT / 2, width, WAVE_HEIGHT, color=light, linewidth=0)
        self.strip.text(LEFT - 0.15, y, name, size=11, weight="bold", color=color, ha="right")
        first = max(0, row.start_turn - delay_turns)
        shown = peaks[first : max(first, row.end_turn - delay_turns)]
        if not shown:
            return
        values = np.concatenate(shown)
        x = row.x(first + delay_turns) + (np.arange(len(values)) + 0.5) / ENVELOPE_BINS * row.inches_per_turn
        # Speech is mostly quiet: the root lets its shape be seen without making noise look loud.
        peak = max(QUIETEST_PEAK, max(float(one.max()) for one in peaks))
        heights = (values / peak) ** 0.7 * (WAVE_HEIGHT / 2 - 0.03)
        self.strip.axes.fill_between(x, y - heights - 0.004, y + heights + 0.004, color=color, linewidth=0, zorder=2)

    def _gaps(self, y: float) -> None:
        row = self.row
        turns = range(row.start_turn, min(row.end_turn, self.timeline.num_turns))
        for is_gap, group in groupby(turns, self.timeline.gaps.__getitem__):
            if is_gap:
                first, *rest = group
                width = (1 + len(rest)) * row.inches_per_turn
                self.strip.box(row.x(first), y - WAVE_HEIGHT / 2, width, WAVE_HEIGHT, zorder=3, **HATCHED)

    def _band(self, y: float) -> None:
        """One cell a turn, where its sound is heard: speak or listen; acts sit on it."""
        row, timeline = self.row, self.timeline
        turns = range(max(0, row.start_turn - 1), min(row.end_turn - 1, timeline.num_turns))
        cells = [Rectangle((row.x(turn + 1) + 0.006, y), row.inches_per_turn - 0.012, BAND_HEIGHT) for turn in turns]
        colors = [MODEL if timeline.speaking[turn] else LISTEN for turn in turns]
        self.strip.axes.add_collection(PatchCollection(cells, facecolors=colors, linewidths=0, zorder=2))
        frame = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": ACT, "linewidth": 0.8}
        middle = y + BAND_HEIGHT / 2
        for turn, act in timeline.acts:
            if row.holds(turn + 1):
                x = row.x(turn + 1.5)
                self.strip.axes.plot([x], [middle], marker="D", markersize=7, color=ACT, zorder=6)
                side, shift = ("right", -0.12) if x > WIDTH - 1.2 else ("left", 0.12)
                self.strip.text(x + shift, middle, act, size=9, color=ACT, ha=side, zorder=6, bbox=frame)

    def _words(self, words: list[Placed], y: float, direction: float, color: str) -> None:
        """Words level by level away from the sound, each with a thin line to its moment."""
        middles = [y + direction * (word.level * WORD_HEIGHT + WORD_HEIGHT / 2) for word in words]
        self.strip.axes.vlines(
            [min(max(word.anchor, LEFT), WIDTH - RIGHT) for word in words],
            y - direction * 0.03,
            [middle if word.level else y for word, middle in zip(words, middles, strict=True)],
            color=color,
            linewidth=0.7,
            alpha=0.55,
            zorder=1,
        )
        ground = {"boxstyle": "square,pad=0.06", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.85}
        for word, middle in zip(words, middles, strict=True):
            self.strip.text(word.left, middle, word.text, color=color, zorder=4, bbox=ground)

    def _pictures(self, thumbnails: list[tuple[int, NDArray[np.uint8]]], y: float) -> None:
        """As many of the pictures as fit side by side, each with its left edge at its moment."""
        axes = self.strip.axes
        limits = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}
        free_from = LEFT
        for turn, picture in thumbnails:
            left = self.row.x(turn)
            right = left + THUMBNAIL_HEIGHT * picture.shape[1] / picture.shape[0]
            if free_from <= left and right <= WIDTH - 0.05:
                place = (left, right, y, y + THUMBNAIL_HEIGHT)
                axes.imshow(picture, extent=place, aspect="auto", interpolation="antialiased", zorder=2)
                free_from = right + 0.03
        # Showing a picture narrows the axes to it.
        axes.set(**limits)


def _levels(words: list[Placed]) -> int:
    return 1 + max((word.level for word in words), default=-1)
