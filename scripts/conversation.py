"""How requests are answered in conversations of minutes: held-out scenarios one after the other, words given.

    .venv/bin/python scripts/conversation.py [CONVERSATIONS] [MINUTES] [WEIGHTS] [FAMILY ...]

Events answered by the minute in which their part (some 50 s) began, then by family: in the first part and after it.
With families, those alone follow each other (without pictures: ``say time cue free idle``), otherwise these and
``count``. Everything is answered, and every rule ended, before the next scenario begins: what a short memory forgets is
not seen here.
"""

import sys
from collections import Counter
from dataclasses import replace

from microturn.bench.events import said_runs, score_session
from microturn.bench.suite import FIRST_SEED
from microturn.bench.systems import turn_input
from microturn.model.microturn import use_one_thread
from microturn.model.weights import load
from microturn.scenario.generate import string_parts
from microturn.session.session import Session
from microturn.turn import TURN_MS


def main(num_conversations: int, minutes: int, weights: str, families: list[str]) -> None:
    use_one_thread()
    model = load(weights)
    due: Counter[tuple[str, str]] = Counter()
    right, besides = due.copy(), Counter[str]()
    for number in range(num_conversations):
        session = Session.open(model, seed=number)
        target_ms, seed = minutes * 60_000.0, FIRST_SEED + number
        parts = string_parts(seed, "heldout", target_ms, families, assistant=False, sound=False)
        for first, part in parts:
            outputs = [replace(session.step(turn_input(part, turn)), turn=turn) for turn in range(part.num_turns)]
            runs = said_runs(outputs)
            matches = score_session(part.events, part.num_turns, runs).matches
            answered = {id(match.event) for match in matches}
            minute = f"minute {first * TURN_MS // 60_000 + 1}"
            besides[minute] += len(runs) - len(matches)
            for event in part.events:
                for key in ((minute, ""), (event.kind, "later" if first else "first part")):
                    due[key], right[key] = due[key] + 1, right[key] + (id(event) in answered)
    for key in sorted(due):
        also = f"; said besides: {besides[key[0]]}" if key[0] in besides else ""
        print(f"{' '.join(key).strip()}: {right[key]} of {due[key]} ({right[key] / due[key]:.0%}){also}")


main(
    int(sys.argv[1]) if len(sys.argv) > 1 else 6, int(sys.argv[2]) if len(sys.argv) > 2 else 5,
    sys.argv[3] if len(sys.argv) > 3 else "nano", sys.argv[4:],
)  # fmt: skip
