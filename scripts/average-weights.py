"""Weights of which one stack is the mean of two (Wortsman et al. 2022, "Model soups").

    .venv/bin/python scripts/average-weights.py WEIGHTS OTHER OUT [STACK]

Everything else is that of WEIGHTS. ``STACK`` is a part of the network: ``hearing`` if nothing is said, as the packaged
hearing was made on 2026-11-29 from the one before and a checkpoint's weights that had gone on from it.
"""

import sys
from pathlib import Path

from microturn.model.weights import load, save


def main(weights: str, other: str, out: Path, stack: str) -> None:
    """Write them to ``out``."""
    model, beside = load(weights), load(other).network.state_dict()
    state = model.network.state_dict()
    for name, value in state.items():
        if name.startswith(f"{stack}."):
            value.copy_((value.float() + beside[name].float()) / 2)
    save(out, model.config, state, model.weights.vocoder, model.tokenizer)


main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "hearing")
