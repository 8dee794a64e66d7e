"""What is said when everything that was asked for has been answered: held-out sessions that go on in silence.

    .venv/bin/python scripts/afterwards.py [SESSIONS] [WEIGHTS] [FAMILY ...]

The families' sessions end soon after the last answer, so a timer that rings once more is seen nowhere else. The words
are given in place of sound.
"""

import sys
from dataclasses import replace
from functools import partial

import numpy as np

from microturn.bench.events import said_runs
from microturn.bench.suite import FIRST_SEED
from microturn.bench.systems import model_system
from microturn.model.microturn import use_one_thread
from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_MS, TURN_SAMPLES

AFTER_MS = 40_000
FAMILIES = ("time", "cue", "say", "delegate", "interrupt")


def gone_on(family: str, index: int) -> list[Scenario]:
    """A session of the bench, and ``AFTER_MS`` of silence."""
    scenario = generate(family, FIRST_SEED + index, "heldout", assistant=False, sound=False)
    num_turns = scenario.num_turns + AFTER_MS // TURN_MS
    return [replace(scenario, num_turns=num_turns, user=np.zeros(num_turns * TURN_SAMPLES, np.float32))]


def main(num_sessions: int, weights: str, families: list[str]) -> None:
    use_one_thread()
    for family in families:
        sources = [partial(gone_on, family, index) for index in range(num_sessions)]
        examples, loud, words = [], 0, 0
        for played in model_system(weights, None).play(sources):
            end_turn = played.scenario.num_turns - AFTER_MS // TURN_MS
            after = [run for run in said_runs(played.outputs) if run.first_turn >= end_turn]
            loud, words = loud + bool(after), words + sum(len(run.text.split()) for run in after)
            due = "; ".join(f"{event.at_ms / 1000:.1f} {event.words}" for event in played.scenario.events)
            told = "; ".join(f"{(run.first_turn + 1) * TURN_MS / 1000:.1f} {run.text}" for run in after)
            if after:
                spoken = " ".join(word.text for word in played.scenario.heard)
                examples.append(f"  {spoken} | due {due} | after {end_turn * TURN_MS / 1000:.1f}: {told}")
        print(f"{family}: {loud} of {num_sessions} sessions are not silent afterwards, {words} words", flush=True)
        print("\n".join(examples), flush=True)


main(
    int(sys.argv[1]) if len(sys.argv) > 1 else 24, sys.argv[2] if len(sys.argv) > 2 else "nano",
    sys.argv[3:] or list(FAMILIES),
)  # fmt: skip
