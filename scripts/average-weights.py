"""Weights of which one stack is a mean of two (Wortsman et al. 2022, "Model soups").

    .venv/bin/python scripts/average-weights.py WEIGHTS OTHER OUT [--stack hearing] [--share 0.5] [--nothing 0.0]

Everything else is that of WEIGHTS. ``--stack`` is a part of the network (``hearing``, ``flow``, or ``backbone`` with
what embeds its tokens and says its words), ``--share`` is how much of OTHER's it gets, 1 to take it as it is.
``--nothing`` is added to the score of writing no word, so that fewer words are written that nobody said.
"""

import argparse
from pathlib import Path

from microturn.model.weights import load, save

STACKS = {"hearing": ("hearing.",), "flow": ("flow.",), "backbone": ("embedder.", "backbone.", "say.")}


def main(arguments: argparse.Namespace) -> None:
    """Write them to ``OUT``."""
    model, beside = load(arguments.weights), load(arguments.other).network.state_dict()
    state = model.network.state_dict()
    for name, value in state.items():
        if name.startswith(STACKS[arguments.stack]):
            value.lerp_(beside[name], arguments.share)
    state["hearing.words.bias"][-1] += arguments.nothing
    save(arguments.out, model.config, state, model.weights.vocoder, model.tokenizer)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("weights")
parser.add_argument("other")
parser.add_argument("out", type=Path)
parser.add_argument("--stack", choices=STACKS, default="hearing")
parser.add_argument("--share", type=float, default=0.5)
parser.add_argument("--nothing", type=float, default=0.0)
main(parser.parse_args())
