"""Tasks: streams of batches. All of them make sessions while training goes on; no session is kept for long. The rows of
ever new sessions come from a source, which draws them from what a machine has (``Materials``).

Batches are cut from sessions that wait, those of about one length together. A session is used a few times, each time
changed at random in another way, and never twice in one batch.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from microturn.language.tokenizer import TextTokenizer
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.hearing import Hearing
from microturn.split import Split
from microturn.train.augment import AugmentConfig
from microturn.train.batch import Batch, Row, collate

GOLDEN = (5**0.5 - 1) / 2
WIDTHS = (0, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
"""Rows are padded to one of these, so that few shapes are met (half-precision products want that)."""
TURNS_STEP = 16
"""Turns are padded to a multiple of so many."""
WAITING_BATCHES = 2
"""Sessions of one width that wait before batches are cut from them, in batches."""
DEV_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What rows are made from."""

    tokenizer: TextTokenizer
    patch_rows: int
    split: Split = "train"
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """None: everything as it is, for figures that can be compared."""
    bank: Path | None = None
    """Voice bank for listening."""
    data: Path | None = None
    """Recordings of people, sounds and videos."""
    hearing: Hearing | None = None
    """What hears, where the words of sessions are not given."""


Draw = Callable[[np.random.Generator, int], list[Row]]
"""``draw(rng, uses)``: the rows of one new session, one for each use, each changed at random in another way."""


class RowSource(Protocol):
    """A kind of sessions."""

    def open(self, materials: Materials) -> Draw:
        """Begin to draw. Raises ``InputError`` or ``VoiceError`` if something is missing that it needs."""

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        """What it draws from by name, for figures of their own."""


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """One task of a mixture."""

    source: RowSource
    tokens: int = 3_072
    """Tokens of a batch, padding included: of the backbone, or 100-ms tokens of sound, or the vocoder's frames."""
    max_tokens: int = 1024
    """Longer rows are left out, with the other rows of their session."""
    uses: int = 2
    """How often a session is used."""

    def rows_of_batch(self, row: Row, width: int) -> int:
        """How many rows like ``row`` a batch has."""
        heard = AUDIO_TOKENS * row.num_turns if row.levels is not None else 0
        frames = 0 if row.wave is None else row.wave.voiced_BF.shape[1]
        return max(1, self.tokens // max(width, heard, frames))

    def width_of(self, rows: Sequence[Row]) -> int | None:
        """The width that has room for each of these rows; None if they are too long."""
        longest = max(len(row.tokens) for row in rows)
        return next((width for width in WIDTHS if longest <= width <= self.max_tokens), None)


def batches_of(name: str, task: TaskConfig, materials: Materials, seed: tuple[int, ...]) -> Iterator[Batch]:
    """An endless stream of one task's batches, the same for the same seed. Raises as ``RowSource.open``."""
    draw, rng = task.source.open(materials), np.random.default_rng(seed)
    waiting: dict[int, list[list[Row]]] = {}
    while True:
        rows = draw(rng, task.uses)
        width = task.width_of(rows)
        if width is None:
            continue
        sessions = waiting.setdefault(width, [])
        sessions.append(rows)
        count = task.rows_of_batch(rows[0], width)
        while len(sessions) >= WAITING_BATCHES * count:
            chosen = [sessions[place].pop() for place in rng.choice(len(sessions), count, replace=False)]
            sessions[:] = [uses for uses in sessions if uses]
            yield _collated(name, chosen, width)


def dev_batches(
    task: TaskConfig, materials: Materials, num_sessions: int, rank: int = 0, num_ranks: int = 1
) -> list[Batch]:
    """``num_sessions`` of each of a task's families, always the same: held out, unchanged, each batch named after its
    family. Of several ranks each has its share of them. Raises as ``RowSource.open``."""
    materials = replace(materials, split="heldout", augment=None)
    batches: list[Batch] = []
    for family, source in task.source.families(materials).items():
        draw = source.open(materials)
        by_width: dict[int, list[Row]] = {}
        for number in range(rank, num_sessions, num_ranks):
            rows = draw(np.random.default_rng((DEV_SEED, number)), 1)
            width = task.width_of(rows)
            if width is not None:
                by_width.setdefault(width, []).extend(rows)
        for width, rows in by_width.items():
            count = task.rows_of_batch(rows[0], width)
            batches += [_collated(family, rows[at : at + count], width) for at in range(0, len(rows), count)]
    return batches


def _collated(name: str, rows: Sequence[Row], width: int) -> Batch:
    longest = max(row.num_turns for row in rows)
    return collate(name, rows, width, -(-longest // TURNS_STEP) * TURNS_STEP)


class Mixture(IterableDataset[Batch]):
    """Batches of several tasks by their shares, from step ``first_step`` on; the task of a step depends on its number
    alone, so all ranks have the same, and each has sessions of its own."""

    def __init__(
        self,
        tasks: Mapping[str, TaskConfig],
        shares: Mapping[str, float],
        materials: Materials,
        seed: tuple[int, ...],
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self._tasks, self._materials = dict(tasks), materials
        self._shares = {name: share for name, share in shares.items() if share > 0}
        self._seed, self._first_step = seed, first_step

    def task_of(self, step: int) -> str:
        """The task of a step; multiples of the golden ratio make every task come as evenly as its share allows."""
        names = list(self._shares)
        ends = np.cumsum([self._shares[name] for name in names])
        return names[int(np.searchsorted(ends, (step * GOLDEN % 1.0) * ends[-1], side="right"))]

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        if info is not None:
            torch.set_num_threads(1)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # the process that trains decides what follows from them
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        streams = {
            name: batches_of(name, self._tasks[name], self._materials, (*self._seed, self._first_step, worker, place))
            for place, name in enumerate(self._shares)
        }
        step = self._first_step + worker
        while True:
            yield next(streams[self.task_of(step)])
            step += num_workers


def loaded(mixture: Mixture, num_workers: int, *, pinned: bool = False) -> Iterator[Batch]:
    """Batches made ahead of time in ``num_workers`` processes (0: in this one), ``pinned`` for copies to a GPU."""
    if num_workers == 0:
        return iter(mixture)
    loader = DataLoader(mixture, batch_size=None, num_workers=num_workers, prefetch_factor=3, pin_memory=pinned)
    return iter(loader)
