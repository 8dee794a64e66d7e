"""Which of two disjoint worlds something belongs to: what is trained on, and what is kept for testing."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, Split] = ("train", "heldout")
