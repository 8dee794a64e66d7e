"""How well words are placed in speech whose word times are known: by a reading that is warped to fit, and by phones.

    .venv/bin/python scripts/word-times.py BANK CHECKPOINT [UTTERANCES]

CHECKPOINT is one of a training of hearing (packaged weights have no head for phones). Shares of the words whose end is
told within 50, 100 and 200 ms, by part of the bank.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from microturn.language.lexicon import LETTERS
from microturn.model.config import ModelConfig
from microturn.train.learner import Learner
from microturn.train.realign import placed
from microturn.voices.bank import Part
from microturn.voices.people import ALIGNED_WORDS, aligned
from microturn.voices.speech import Speech

PARTS = ("synthesised-heldout-0000", "kokoro-heldout-0000", "kokoro-train-0000")
WITHIN_MS = (50.0, 100.0, 200.0)


def by_warping(speech: Speech) -> list[float]:
    """Ends of the words, ms."""
    spelt = (f"{word.text}." if word.text in LETTERS and word.text not in "aio" else word.text for word in speech.words)
    return [end for _, end in aligned(speech.pcm, tuple(spelt))]


def main(bank: Path, checkpoint: Path, count: int) -> None:
    """Print a line for every part and way."""
    found = torch.load(checkpoint, weights_only=True)
    learner = Learner(ModelConfig.from_dict(found["model"]))
    learner.load_state_dict(found["averaged"])
    learner.eval()
    for name in PARTS:
        if not (bank / name).is_dir():
            continue
        part = Part(bank / name)
        errors: dict[str, list[float]] = {"warping": [], "phones": []}
        for index in np.random.default_rng(1).permutation(len(part))[:count]:
            speech = part.speech(int(index))
            if len(speech.words) < ALIGNED_WORDS:
                continue
            by_phones = placed(speech, learner)
            ends = {
                "warping": by_warping(speech),
                "phones": [word.end_ms for word in by_phones.words] if by_phones else [],
            }
            for way, told_ms in ends.items():
                true_ms = [word.end_ms for word in speech.words]
                errors[way] += np.subtract(told_ms, true_ms).tolist() if told_ms else [np.inf] * len(true_ms)
        for way, values in errors.items():
            shares = (float(np.mean(np.abs(values) <= limit)) for limit in WITHIN_MS)
            print(f"{name:26} {way:8} {len(values)} words:", *(f"{share:.0%}" for share in shares), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 60)
