"""What a turn with sound costs in sessions of 1, 5, 10 and 20 minutes, against the same turns in an old one.

    .venv/bin/python scripts/cost-by-age.py MINUTES

Eight hours (480) take a quarter of an hour of an idle core. Turns in which only one of the two speaks are left out.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice

from microturn import Session, load
from microturn.bench.cost import TURNS_PER_MINUTE, busy_turns, in_alternation, median_alike, resident_mb
from microturn.model.microturn import use_one_thread

AGES = (1, 5, 10, 20)


def main(minutes: int) -> None:
    """Print milliseconds of both, and what the process takes at the beginning and at the end."""
    use_one_thread()
    model = load("nano")
    with ProcessPoolExecutor(1) as workers:
        turns = (replace(given, frame=None) for given in busy_turns(workers))
        old, first_mb = Session.open(model), 0.0
        for minute in range(minutes):
            for given in islice(turns, TURNS_PER_MINUTE):
                old.step(given)
            first_mb = first_mb or resident_mb()
            if minute % 60 == 59:
                print(f"{minute + 1} minutes: {resident_mb():.0f} MB, {first_mb:.0f} MB after one", flush=True)
        young, age = Session.open(model), 1
        for wanted in AGES:
            for given in islice(turns, (wanted - age) * TURNS_PER_MINUTE):
                young.step(given)
            # The next minute is that of the young session's age; both go on from copies, so that it can be repeated.
            new, aged = (Session.imported(model, session.export()) for session in (young, old))
            new_ms, old_ms, alike = in_alternation(new, aged, islice(turns, TURNS_PER_MINUTE))
            one_ms, other_ms = median_alike(new_ms, alike), median_alike(old_ms, alike)
            ratio = other_ms / one_ms
            print(f"minute {wanted}: {one_ms:.2f} ms, minute {minutes}: {other_ms:.2f} ms, {ratio:.3f} x", flush=True)
            age = wanted


main(int(sys.argv[1]))
