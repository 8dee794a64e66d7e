"""Requests that are spoken and to be handed over: how many are heard right, and how many are handed over.

    .venv/bin/python scripts/delegate-heard.py SESSIONS [WEIGHTS]

Heard right: between the request's beginning and a second after its end just its words are written, in their order.
"""

import sys

from microturn.bench.delegation import acts_of, acts_right
from microturn.bench.events import lane_words
from microturn.bench.suite import sessions_of
from microturn.bench.systems import model_system
from microturn.model.microturn import use_one_thread
from microturn.turn import TURN_MS, Act

LATE_MS = 1000.0


def main(num_sessions: int, weights: str) -> None:
    """Print how many, and how many of those heard right and of the others are handed over."""
    use_one_thread()
    found = []
    for played in model_system(weights, None).play(sessions_of("delegate", num_sessions)):
        scenario, outputs = played.scenario, played.outputs
        written = lane_words((output.turn, output.hear) for output in outputs)
        for due, right in zip(scenario.dues, acts_right(scenario.dues, acts_of(outputs)), strict=True):
            said = [word.text for word in scenario.heard if due.start_ms <= word.start_ms < due.end_ms]
            if due.act is Act.DELEGATE and not due.corrects and said:
                heard = [word.text for word in written if due.start_ms <= word.turn * TURN_MS < due.end_ms + LATE_MS]
                found.append((heard == said, right))
    for name, some in (
        ("all", found),
        ("heard right", [one for one in found if one[0]]),
        ("not heard right", [one for one in found if not one[0]]),
    ):
        print(f"{name}: {len(some)} requests, {sum(right for _, right in some)} handed over")


main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "nano")
