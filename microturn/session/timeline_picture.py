"""The picture of a session on the turn clock: both voices, words, speak and listen, acts, frames, gaps.

Long sessions are wrapped into rows. Each row is drawn apart, as high as its contents need, and written before the
next: a long session needs no more memory than a short one. Everything is placed in inches, so that words can
be kept from overlapping by their measured widths.

What comes in during turn *t* is drawn at that turn; what goes out of it is drawn one turn later, where it is heard.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from microturn.media.png import write_png
from microturn.session.timeline import ENVELOPE_BINS, Label, Timeline
from microturn.turn import TURN_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

TURN_S = TURN_MS / 1000.0
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

Pixels = NDArray[np.uint8]
"""A drawn strip, shape (height, width, 3)."""


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
    whole_second = round(1.0 / TURN_S)
    length = turns if num_rows == 1 else math.ceil(turns / num_rows / whole_second) * whole_second
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
        if level == len(level_ends):
            level_ends.append(0.0)
        level_ends[level] = left + width
        placed.append(Placed(text, left, anchor, level))
    return placed


def draw_timeline(timeline: Timeline, path: Path) -> None:
    """Draw ``timeline`` as a PNG. Raises ``OSError`` if ``path`` cannot be written."""
    with warnings.catch_warnings():
        # A character that the font does not have is drawn as a box: nothing that anybody could put right.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        rows = (_RowDrawing(timeline, row).draw() for row in rows_of(timeline.num_turns))
        write_png(path, round(WIDTH * DPI), DPI, chain([_header(timeline)], rows))


def _strip(height: float) -> tuple[Axes, FigureCanvasAgg]:
    """An empty strip of the page with inches as coordinates, the origin at its lower left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, round(height * DPI) / DPI), dpi=DPI, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, WIDTH)
    axes.set_ylim(0.0, height)
    return axes, canvas


def _pixels(canvas: FigureCanvasAgg) -> Pixels:
    buffer = io.BytesIO()
    canvas.figure.savefig(buffer, format="rgba", dpi=DPI)
    width, height = canvas.get_width_height()
    return np.frombuffer(buffer.getbuffer(), np.uint8).reshape(height, width, 4)[:, :, :3].copy()


def _text_width(axes: Axes, text: str, size: float, weight: str = "normal") -> float:
    probe: Text = axes.text(0.0, 0.0, text, parse_math=False, size=size, weight=weight)
    width = probe.get_window_extent().width / DPI
    probe.remove()
    return float(width)


def _header(timeline: Timeline) -> Pixels:
    """Title, length, and the key to the colours that occur."""
    from matplotlib.patches import Rectangle

    axes, canvas = _strip(HEADER_HEIGHT)
    middle = HEADER_HEIGHT / 2 - 0.02
    seconds = timeline.num_turns * TURN_S
    axes.text(0.3, middle, timeline.title, parse_math=False, size=14, weight="bold", color=INK, va="center")
    right = 0.3 + _text_width(axes, timeline.title, 14, "bold")
    detail = f"{seconds:.1f} s, {timeline.num_turns} turns of {TURN_MS} ms"
    axes.text(right + 0.18, middle - 0.015, detail, size=10, color=FAINT, va="center")
    key: list[tuple[str, dict[str, object]]] = [
        ("user", {"facecolor": USER}),
        ("model", {"facecolor": MODEL}),
        ("speaks", {"facecolor": MODEL, "height": BAND_HEIGHT}),
        ("listens", {"facecolor": LISTEN, "height": BAND_HEIGHT}),
    ]
    if any(timeline.gaps):
        key.append(("gap: no sound came in", {"facecolor": PAPER, "edgecolor": GAP, "hatch": "//////", "linewidth": 0}))
    if timeline.typed:
        key.append(("typed", {"facecolor": PAPER, "edgecolor": TYPED, "linewidth": 1.0}))
    if timeline.acts:
        key.append(("act", {"facecolor": ACT}))
    x = WIDTH - RIGHT
    for name, style in reversed(key):
        x -= _text_width(axes, name, 10)
        axes.text(x, middle - 0.015, name, size=10, color=INK, va="center")
        height = float(str(style.pop("height", 0.2)))
        axes.add_patch(Rectangle((x - 0.4, middle - height / 2), 0.32, height)).set(**style)
        x -= 0.62
    return _pixels(canvas)


class _RowDrawing:
    """One row, from the clock at its foot up to the pictures at its head."""

    def __init__(self, timeline: Timeline, row: Row) -> None:
        self.timeline = timeline
        self.row = row
        # Widths of words are measured on a strip of any height.
        self.axes, self.canvas = _strip(1.0)
        limits = (LEFT, WIDTH - RIGHT + 0.1)
        self.heard = self._placed([(one, one.turn + 1) for one in timeline.heard], limits, ends_at=True)
        self.said = self._placed([(one, one.turn + 1) for one in timeline.said], limits, ends_at=False)
        self.typed = self._placed([(one, one.turn) for one in timeline.typed], limits, ends_at=False, extra=0.16)
        self.thumbnails = {turn: one for turn, one in timeline.thumbnails.items() if row.holds(turn)}

    def _placed(
        self, labels: list[tuple[Label, int]], limits: tuple[float, float], *, ends_at: bool, extra: float = 0.0
    ) -> list[Placed]:
        # A word that ends at a row's edge belongs to the row in which it was spoken.
        shift = 1 if ends_at else 0
        words = [(label.text, self.row.x(turn)) for label, turn in labels if self.row.holds(turn - shift)]

        def width_of(text: str) -> float:
            return _text_width(self.axes, text, 10.5) + extra

        return place_words(words, width_of, limits, ends_at)

    def draw(self) -> Pixels:
        """The row as pixels."""
        said_height = self._height_of(self.said)
        heard_height = self._height_of(self.heard)
        clock_y = AXIS_HEIGHT
        model_y = clock_y + said_height + WAVE_HEIGHT / 2
        band_y = model_y + WAVE_HEIGHT / 2 + PAD / 2
        user_y = band_y + BAND_HEIGHT + PAD / 2 + WAVE_HEIGHT / 2
        typed_y = user_y + WAVE_HEIGHT / 2 + heard_height
        levels = 1 + max([one.level for one in self.typed], default=-1)
        pictures_y = typed_y + levels * TYPED_HEIGHT
        top = pictures_y + (THUMBNAIL_HEIGHT + PAD if self.thumbnails else 0.0) + ROW_GAP

        self.axes, self.canvas = _strip(top)
        self._clock(clock_y, pictures_y)
        self._lane(user_y, USER, USER_LIGHT, "user", self.timeline.user, 0)
        self._lane(model_y, MODEL, MODEL_LIGHT, "model", self.timeline.model, 1)
        self._gaps(user_y)
        self._band(band_y)
        self._words(self.heard, user_y + WAVE_HEIGHT / 2 + 0.03, 1.0, USER)
        self._words(self.said, model_y - WAVE_HEIGHT / 2 - 0.03, -1.0, MODEL)
        self._typed(typed_y)
        self._pictures(pictures_y + PAD / 2)
        return _pixels(self.canvas)

    @staticmethod
    def _height_of(words: list[Placed]) -> float:
        levels = 1 + max([one.level for one in words], default=0)
        return levels * WORD_HEIGHT + 0.06

    def _last_turn(self) -> int:
        return min(self.row.end_turn, self.timeline.num_turns + 1)

    def _clock(self, bottom: float, top: float) -> None:
        """A line for each second, a tick for each turn, numbers where they have room."""
        row, axes = self.row, self.axes
        end = row.x(self._last_turn())
        per_second = round(1.0 / TURN_S)
        every_s = next(step for step in (1, 2, 5, 10, 30, 60) if step * per_second * row.inches_per_turn > 0.45)
        turns = range(row.start_turn, self._last_turn() + 1)
        seconds = [turn for turn in turns if turn % per_second == 0]
        axes.hlines([bottom], LEFT, end, color=FAINT, linewidth=0.8)
        axes.vlines([row.x(turn) for turn in turns], bottom - 0.03, bottom, color=FAINT, linewidth=0.5)
        axes.vlines([row.x(turn) for turn in seconds], bottom - 0.06, bottom, color=FAINT, linewidth=0.8)
        axes.vlines([row.x(turn) for turn in seconds], bottom, top, color=GRID, linewidth=0.8, zorder=0)
        by_minutes = self.timeline.num_turns * TURN_S >= 60
        for turn in seconds:
            second = turn // per_second
            if second % every_s == 0:
                name = f"{second // 60}:{second % 60:02d}" if by_minutes else f"{second} s"
                axes.text(row.x(turn), bottom - 0.09, name, size=9, color=FAINT, ha="center", va="top")

    def _lane(
        self, y: float, color: str, light: str, name: str, peaks: list[NDArray[np.float32]], delay_turns: int
    ) -> None:
        from matplotlib.patches import Rectangle

        row = self.row
        end = row.x(self._last_turn())
        self.axes.add_patch(Rectangle((LEFT, y - WAVE_HEIGHT / 2), end - LEFT, WAVE_HEIGHT, color=light, linewidth=0))
        self.axes.text(LEFT - 0.15, y, name, size=11, weight="bold", color=color, ha="right", va="center")
        first = max(0, row.start_turn - delay_turns)
        shown = peaks[first : max(first, row.end_turn - delay_turns)]
        if not shown:
            return
        values = np.concatenate(shown)
        x = row.x(first + delay_turns) + (np.arange(len(values)) + 0.5) / ENVELOPE_BINS * row.inches_per_turn
        # Speech is mostly quiet: the root lets its shape be seen without making noise look loud.
        peak = max(QUIETEST_PEAK, max(float(one.max()) for one in peaks))
        heights = (values / peak) ** 0.7 * (WAVE_HEIGHT / 2 - 0.03)
        self.axes.fill_between(x, y - heights - 0.004, y + heights + 0.004, color=color, linewidth=0, zorder=2)

    def _gaps(self, y: float) -> None:
        from matplotlib.patches import Rectangle

        turn = self.row.start_turn
        end = min(self.row.end_turn, self.timeline.num_turns)
        while turn < end:
            first = turn
            while turn < end and self.timeline.gaps[turn]:
                turn += 1
            if turn > first:
                x, width = self.row.x(first), (turn - first) * self.row.inches_per_turn
                box = Rectangle((x, y - WAVE_HEIGHT / 2), width, WAVE_HEIGHT, facecolor=PAPER, edgecolor=GAP)
                self.axes.add_patch(box).set(hatch="//////", linewidth=0.0, zorder=3)
            turn = max(turn, first + 1)

    def _band(self, y: float) -> None:
        """One cell a turn, where its sound is heard: speak or listen; acts sit on it."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        row = self.row
        cells, colors = [], []
        for turn in range(max(0, row.start_turn - 1), min(row.end_turn - 1, self.timeline.num_turns)):
            cells.append(Rectangle((row.x(turn + 1) + 0.006, y), row.inches_per_turn - 0.012, BAND_HEIGHT))
            colors.append(MODEL if self.timeline.speaking[turn] else LISTEN)
        self.axes.add_collection(PatchCollection(cells, facecolors=colors, linewidths=0, zorder=2))
        for turn, act in self.timeline.acts:
            if row.holds(turn + 1):
                x = row.x(turn + 1.5)
                self.axes.plot([x], [y + BAND_HEIGHT / 2], marker="D", markersize=7, color=ACT, zorder=6)
                left = x > WIDTH - 1.2
                self.axes.text(
                    x - 0.12 if left else x + 0.12,
                    y + BAND_HEIGHT / 2,
                    str(act),
                    size=9,
                    color=ACT,
                    ha="right" if left else "left",
                    va="center",
                    zorder=6,
                    bbox={"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": ACT, "linewidth": 0.8},
                )

    def _words(self, words: list[Placed], y: float, direction: float, color: str) -> None:
        """Words level by level away from the sound, each with a thin line to its moment."""
        bases = [y + direction * word.level * WORD_HEIGHT for word in words]
        self.axes.vlines(
            [min(max(word.anchor, LEFT), WIDTH - RIGHT) for word in words],
            y - direction * 0.03,
            [base + direction * WORD_HEIGHT / 2 if base != y else y for base in bases],
            color=color,
            linewidth=0.7,
            alpha=0.55,
            zorder=1,
        )
        for word, base in zip(words, bases, strict=True):
            self.axes.text(
                word.left,
                base + direction * WORD_HEIGHT / 2,
                word.text,
                parse_math=False,
                size=10.5,
                color=color,
                va="center",
                zorder=4,
                bbox={"boxstyle": "square,pad=0.06", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.85},
            )

    def _typed(self, y: float) -> None:
        for word in self.typed:
            self.axes.text(
                word.left + 0.08,
                y + word.level * TYPED_HEIGHT + TYPED_HEIGHT / 2,
                word.text,
                parse_math=False,
                size=10.5,
                color=TYPED,
                va="center",
                zorder=4,
                bbox={"boxstyle": "round,pad=0.22", "facecolor": PAPER, "edgecolor": TYPED, "linewidth": 1.0},
            )

    def _pictures(self, y: float) -> None:
        """As many of the pictures as fit side by side, each with its left edge at its moment."""
        free_from = LEFT
        _, height = self.axes.get_ylim()
        for turn, picture in sorted(self.thumbnails.items()):
            width = THUMBNAIL_HEIGHT * picture.shape[1] / picture.shape[0]
            left = self.row.x(turn)
            if left < free_from or left + width > WIDTH - 0.05:
                continue
            self.axes.imshow(
                picture,
                extent=(left, left + width, y, y + THUMBNAIL_HEIGHT),
                aspect="auto",
                interpolation="antialiased",
                zorder=2,
            )
            free_from = left + width + 0.03
        # Showing a picture narrows the axes to it.
        self.axes.set_xlim(0.0, WIDTH)
        self.axes.set_ylim(0.0, height)
