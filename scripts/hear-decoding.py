"""When is a word written: by the chance of one token, or of two in a row? What both rules write of held-out people.

    .venv/bin/python scripts/hear-decoding.py DATA [CLIPS] [WEIGHTS]

The hearing stack writes a word where some word is likelier than none at a token. ``two`` carries over what the token
before it gave to words, if nothing was written there, and writes from a limit on. Seed 11, right / said by nobody in %.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from microturn.bench.events import SaidWord, lane_words
from microturn.bench.heard import NOTHING_SAID
from microturn.bench.people import GROUPS, Spoken, choose, score_session, sessions_of
from microturn.media.mel import dmel_levels, log_mel
from microturn.model.ear import AUDIO_TOKENS
from microturn.model.hearing import NO_WORD, Hearing, initial_hearing_state
from microturn.model.microturn import Microturn, use_one_thread
from microturn.model.weights import load
from microturn.turn import TURN_SAMPLES, Pcm
from microturn.voices import people

SEED = 11
Heard = tuple[tuple[Spoken, ...], Tensor]
"""What is said, and the chances of all text tokens and of none at every audio token, (T, V + 1)."""


@torch.inference_mode()
def chances(hearing: Hearing, sound: Pcm) -> Tensor:
    num_turns = len(sound) // TURN_SAMPLES
    levels = torch.from_numpy(dmel_levels(log_mel(sound[: num_turns * TURN_SAMPLES])))[None]
    arrived = torch.ones(1, num_turns, dtype=torch.bool)
    hidden, _, _ = hearing(levels, arrived, initial_hearing_state(hearing.config, 1))
    chance_TV: Tensor = hearing.words(hidden)[0].float().softmax(-1)
    return chance_TV


def one(chance_TV: Tensor, limit: float) -> Iterator[int]:
    """A word where words have ``limit`` together."""
    for chance_V in chance_TV:
        yield int(chance_V[:-1].argmax()) if 1 - float(chance_V[-1]) > limit else NO_WORD


def two(chance_TV: Tensor, limit: float) -> Iterator[int]:
    """The same of two tokens; what is left of a word that was just written is no other one."""
    carried_V = torch.zeros(chance_TV.shape[1] - 1)
    written = NO_WORD
    for chance_V in chance_TV:
        words_V = chance_V[:-1].clone()
        if written != NO_WORD and float(words_V.sum()) < 0.5:
            words_V[written] = 0.0
        both_V = words_V + carried_V
        written = int(both_V.argmax()) if float(both_V.sum()) > limit else NO_WORD
        carried_V = torch.zeros_like(words_V) if written != NO_WORD else words_V
        yield written


def lane(model: Microturn, tokens: list[int]) -> list[SaidWord]:
    """The words of a hear lane of which these tokens are written."""
    turns = np.array(tokens).reshape(-1, AUDIO_TOKENS)
    return lane_words(enumerate(model.tokenizer.decode([x for x in turn if x != NO_WORD]) for turn in turns.tolist()))


def main(data: Path, num_clips: int, weights: str) -> None:
    """Print a line a rule."""
    use_one_thread()
    model = load(weights)
    clips = list(people.clips(data))
    heard: dict[str, list[Heard]] = {}
    for group in GROUPS:
        chosen = choose(group.heldout(clips), num_clips, group, SEED)
        sessions = sessions_of(group, chosen, SEED)
        heard[group.name] = [(session.spoken, chances(model.network.hearing, session.sound)) for session in sessions]
    for rule, limit in ((one, 0.5), (one, 0.4), (two, 0.5), (two, 0.6), (two, 0.7)):
        figures = []
        for name, some in heard.items():
            write = partial(rule, limit=limit)
            scores = (score_session(spoken, lane(model, list(write(chance)))) for spoken, chance in some)
            score = sum(scores, NOTHING_SAID)
            figures.append(f"{name} {100 * score.share_right:.1f} / {100 * score.unsaid_share:.1f}")
        print(f"{rule.__name__} {limit}:", ", ".join(figures), flush=True)


main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200, sys.argv[3] if len(sys.argv) > 3 else "nano")
