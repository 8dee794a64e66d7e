"""Where rows come from: a source draws the rows of ever new sessions from what a machine has (``Materials``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from microturn.language.tokenizer import TextTokenizer
from microturn.split import Split
from microturn.train.augment import AugmentConfig
from microturn.train.batch import Row


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


Draw = Callable[[np.random.Generator, int], list[Row]]
"""``draw(rng, uses)``: the rows of one new session, one for each use, each changed at random in another way."""


class RowSource(Protocol):
    """A kind of sessions."""

    def open(self, materials: Materials) -> Draw:
        """Begin to draw. Raises ``InputError`` or ``VoiceError`` if something is missing that it needs."""

    def families(self, materials: Materials) -> Mapping[str, RowSource]:
        """What it draws from by name, for figures of their own."""
