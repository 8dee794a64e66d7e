"""What hearing has learnt by heart: words told right on training and on held-out utterances of a voice bank, by source.

    .venv/bin/python scripts/hearing-gap.py BANK DATA [WEIGHTS]

"right" is the word written at its token (100 ms) or one beside it, "which" the likeliest word at the surest of these
three, "extra" all other tokens at which a word is written, as a share of all words. ``augmented`` rows are changed as
training changes them.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from microturn.language.tokenizer import default_tokenizer
from microturn.model.weights import load
from microturn.train.augment import AugmentConfig
from microturn.train.batch import collate
from microturn.train.hear import ListeningRows
from microturn.train.learner import Learner
from microturn.train.tasks import Materials

SESSIONS = 12
COLUMNS = ("words right", "words which", "words extra")


@torch.inference_mode()
def main(bank: Path, data: Path, weights: str) -> None:
    """Print a line for every source of the bank."""
    model = load(weights)
    learner = Learner(model.config)
    learner.network.load_state_dict(model.network.state_dict())
    learner.eval()
    for split, augment in (("train", None), ("train", AugmentConfig()), ("heldout", None)):
        materials = Materials(
            tokenizer=default_tokenizer(),
            patch_rows=model.config.patch_rows,
            split=split,
            augment=augment,
            bank=bank,
            data=data,
        )
        for source, rows_of in ListeningRows().families(materials).items():
            rng, draw = np.random.default_rng(5), rows_of.open(materials)
            rows = [row for _ in range(SESSIONS) for row in draw(rng, 1)]
            figures = learner(collate(source, rows, 0, rows[0].num_turns)).figures
            shares = {}
            for name in COLUMNS:
                _, right, count = figures[f"{source}/{name}"].tolist()
                shares[name] = right / max(1.0, count)
            kind = "train augmented" if augment else split
            print(f"{kind:16} {source:16}", *(f"{name.split()[1]} {share:.0%}" for name, share in shares.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "nano")
