"""Weights whose hearing has more layers and wider feed-forward parts, and hears the same (Chen et al. 2016, "Net2Net").

    .venv/bin/python scripts/grow-hearing.py WEIGHTS OUT LAYERS INNER

A new layer adds nothing at first, and neither does what is new inside of a feed-forward part: they are for training.
The old layers lie evenly among the new ones.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from microturn.model.config import HearingConfig
from microturn.model.network import Network
from microturn.model.weights import load, save

LAYER = re.compile(r"hearing\.layers\.(\d+)\.(.+)")
ADDS = ("attended.weight", "mixed.weight", "feed.out.weight")
"""Matrices whose products a layer adds to its input."""


def place_of(layer: int, before: int, after: int) -> int:
    """Where an old layer comes among the new ones."""
    return layer * after // before


def widened(name: str, old: Tensor, new: Tensor) -> Tensor:
    """A matrix of a feed-forward part with more inside: what is new gets in at random and does not get out."""
    if name.endswith("feed.out.weight"):
        wide = torch.zeros_like(new)
        wide[:, : old.shape[1]] = old
        return wide
    wide = new.clone()
    for part, kept in zip(wide.chunk(2), old.chunk(2), strict=True):  # gates, then what they let through
        part[: len(kept)] = kept
    return wide


def grown(old: dict[str, Tensor], new: dict[str, Tensor], before: HearingConfig, after: HearingConfig) -> None:
    """Fill ``new`` in place."""
    places = {place_of(layer, before.num_layers, after.num_layers): layer for layer in range(before.num_layers)}
    for name, value in new.items():
        found = LAYER.fullmatch(name)
        if found is None:
            value.copy_(old[name])
        elif (layer := places.get(int(found[1]))) is not None:
            kept = old[f"hearing.layers.{layer}.{found[2]}"]
            value.copy_(kept if kept.shape == value.shape else widened(name, kept, value))
        elif name.endswith(ADDS):
            value.zero_()


def main(weights: str, out: Path, num_layers: int, inner: int) -> None:
    """Write them to ``out``."""
    torch.manual_seed(0)
    model = load(weights)
    before = model.config.hearing
    if num_layers < before.num_layers or inner < before.inner:
        sys.exit(f"{weights}: its hearing has {before.num_layers} layers of {before.inner} inside already")
    config = replace(model.config, hearing=replace(before, num_layers=num_layers, inner=inner))
    state = Network(config).state_dict()
    grown(model.network.state_dict(), state, before, config.hearing)
    save(out, config, state, model.weights.vocoder, model.tokenizer)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
