"""Which words are spelt right that somebody types: kept out of training, practised, and made up (held out as well).

    .venv/bin/python scripts/spelling.py [WEIGHTS] [WORDS]

Kept-out and practised words are one text token each, which has no letters of its own; made-up ones are several.
"""

import sys

import numpy as np

from microturn.language.tokenizer import default_tokenizer
from microturn.language.wordings import combination_split
from microturn.model.microturn import Microturn, use_one_thread
from microturn.model.weights import load
from microturn.scenario.practice import made_up, spellable
from microturn.session.session import Session
from microturn.turn import TextIn, TextSource, TurnInput

SEED = 5
TURNS_OF_LETTER, FIRST_TURNS = 3, 10


def spelling(model: Microturn, word: str) -> str:
    """What it says when it is asked by keyboard."""
    session = Session(model, model.initial_state(1))
    asked = (TextIn(TextSource.TYPED, f"how do you spell {word}"),)
    said = ""
    for turn in range(FIRST_TURNS + TURNS_OF_LETTER * len(word)):
        said += session.step(TurnInput(audio=None, texts=asked if turn == 1 else ())).say
    return said


def main(weights: str, num_words: int) -> None:
    use_one_thread()
    model, tokenizer = load(weights), default_tokenizer()
    rng = np.random.default_rng(SEED)
    whole = [word for word in spellable() if len(word) > 2 and len(tokenizer.encode_word(word)) == 1]
    rng.shuffle(whole)
    kinds = {
        "kept out": [word for word in whole if combination_split("spell", word) == "heldout"][:num_words],
        "practised": [word for word in whole if combination_split("spell", word) == "train"][:num_words],
        "made up": [made_up(rng, "heldout") for _ in range(num_words)],
    }
    for kind, words in kinds.items():
        said = [spelling(model, word) for word in words]
        right = sum(heard.split() == list(word) for heard, word in zip(said, words, strict=True))
        wrong = [f"{word}: {heard}" for heard, word in zip(said, words, strict=True) if heard.split() != list(word)]
        print(f"{kind}: {right} of {len(words)}; wrong: {', '.join(wrong) or 'none'}")


main(sys.argv[1] if len(sys.argv) > 1 else "nano", int(sys.argv[2]) if len(sys.argv) > 2 else 50)
