"""What a camera that nobody speaks of takes away: sessions with the words given, without pictures and with five a
second of a drawn scene that asks for nothing.

    .venv/bin/python scripts/looked-on.py SESSIONS [WEIGHTS]
"""

import sys
from dataclasses import replace
from functools import partial

import numpy as np

from microturn.bench.events import said_runs
from microturn.bench.suite import figures, sessions_of
from microturn.bench.systems import SessionSource, model_system
from microturn.model.microturn import use_one_thread
from microturn.pictures.repetitions import draw_idle_video
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS

FAMILIES = ("say", "time", "cue")


def looked_on(source: SessionSource, number: int) -> list[Scenario]:
    """The session with a held-out picture in every turn."""
    rng = np.random.default_rng(number)
    return [replace(part, frames=draw_idle_video(rng, "heldout", float(part.num_turns * TURN_MS))) for part in source()]


def main(num_sessions: int, weights: str) -> None:
    """Print the events that are answered, in per cent."""
    use_one_thread()
    system = model_system(weights, None)
    for family in FAMILIES:
        plain = sessions_of(family, num_sessions, words_given=True)
        watched = [partial(looked_on, source, number) for number, source in enumerate(plain)]
        shares = []
        for sources in (plain, watched):
            played = list(system.play(sources))
            score = figures([one.scenario for one in played], [said_runs(one.outputs) for one in played]).events
            shares.append(f"{score.event_accuracy or 0.0:.0%} of {score.num_events}")
        print(f"{family}: {shares[0]} alone, {shares[1]} looked on", flush=True)


main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "nano")
