"""Which texts are read out whole that a job brings: sentences that training does not have, of so many words.

    .venv/bin/python scripts/reading-out.py [WEIGHTS] [TEXTS]

A text comes in at once, in pieces as the server makes them, or sentence by sentence with two seconds between, as it is
written. Told are the texts that are said word for word and, of all words, those said in order and those said besides.
"""

import sys
from difflib import SequenceMatcher
from importlib.resources import files

import numpy as np

from microturn.engine.inbox import pieces_of
from microturn.model.microturn import Microturn, use_one_thread
from microturn.model.weights import load
from microturn.server.delegation import PIECE_BYTES
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, TextIn, TurnInput

SEED = 6
LENGTHS_WORDS = (10, 20, 35, 50)
FIRST_TURN, SENTENCE_TURNS = 3, 10
TURNS_OF_WORD, LAST_TURNS = 4, 20


def sentences(rng: np.random.Generator, num_words: int) -> list[str]:
    """Sentences of the list in any order, the last one cut."""
    lines = files("microturn.bench").joinpath("sentences.txt").read_text(encoding="utf-8").splitlines()
    chosen: list[str] = []
    for place in rng.permutation(len(lines)):
        left = num_words - sum(len(one.split()) for one in chosen)
        words = TextIn.from_job(None, lines[place]).text.split()[:left]
        chosen += [" ".join(words)] if words else []
    return chosen


def said_of(model: Microturn, texts: dict[int, TextIn], num_turns: int) -> list[str]:
    """The words said, silence arriving."""
    session = Session(model, model.initial_state(1))
    said = ""
    for turn in range(num_turns):
        given = (texts[turn],) if turn in texts else ()
        said += session.step(TurnInput(audio=np.zeros(TURN_SAMPLES, np.float32), texts=given)).say
    return said.split()


def main(weights: str, num_texts: int) -> None:
    use_one_thread()
    model = load(weights)
    for num_words in LENGTHS_WORDS:
        for way in ("at once", "written"):
            whole = words_said = right = 0
            rng = np.random.default_rng((SEED, num_words))
            for number in range(num_texts):
                parts = sentences(rng, num_words)
                job, turn, texts = number % 3 or None, FIRST_TURN, {}
                for part in [" ".join(parts)] if way == "at once" else parts:
                    for piece in pieces_of(part, PIECE_BYTES):
                        texts[turn] = TextIn.from_job(job, piece)
                        turn += 1
                    turn += SENTENCE_TURNS - 1
                wanted = " ".join(parts).split()
                said = said_of(model, texts, turn + TURNS_OF_WORD * num_words + LAST_TURNS)
                whole, words_said = whole + (said == wanted), words_said + len(said)
                blocks = SequenceMatcher(None, said, wanted, autojunk=False).get_matching_blocks()
                right += sum(block.size for block in blocks)
            count = num_texts * num_words
            shares = f"{right / count:.0%} of the words in order, {(words_said - right) / count:.0%} besides"
            print(f"{num_words} words {way}: {whole} of {num_texts} whole; {shares}", flush=True)


main(sys.argv[1] if len(sys.argv) > 1 else "nano", int(sys.argv[2]) if len(sys.argv) > 2 else 10)
