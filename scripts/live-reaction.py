"""How long a running server takes to answer: from the end of a spoken request to the first sound at the client.

    .venv/bin/python scripts/live-reaction.py URL SESSIONS [AT_ONCE]

Held-out sessions of ``say`` are streamed in real time, so many at once, and the sound is placed where it arrives, on
the client's clock. An answer counts if it begins within ``LATE_MS``; when requests end is known to the millisecond.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator

import numpy as np

from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.server.client import Player, Sent, connected
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TurnInput, TurnOutput

LATE_MS = 1500.0
AUDIBLE = 0.01
"""Peak from which on sound is heard."""


def inputs(scenario: Scenario) -> list[TurnInput]:
    sound = scenario.user.reshape(scenario.num_turns, -1)
    return [
        TurnInput(sound[turn], scenario.frames.get(turn), scenario.texts.get(turn, ()))
        for turn in range(scenario.num_turns)
    ]


async def answered_ms(url: str, scenario: Scenario) -> list[tuple[float, bool]]:
    """After how long each spoken request was answered, and whether with the right first word."""
    outputs: list[TurnOutput] = []
    sent = [Sent.of(given) for given in inputs(scenario)]
    async with connected(url) as client:
        measured = await Player(sent, lambda given, output, compute_ms: outputs.append(output)).run(client)
    if measured.refused:
        sys.exit(measured.refused)
    sound = np.concatenate([output.audio for output in outputs])
    loud_ms = TURN_MS + np.flatnonzero(np.abs(sound) > AUDIBLE) * 1000 / SAMPLE_RATE_HZ
    spoken = {word.end_ms for word in scenario.heard}
    found = []
    for event in scenario.events:
        after_ms = loud_ms[loud_ms > event.cause_ms] - event.cause_ms
        busy = ((loud_ms <= event.cause_ms) & (loud_ms > event.cause_ms - TURN_MS)).any()
        if event.cause_ms in spoken and not busy and len(after_ms) and after_ms[0] < LATE_MS:
            turns = range(int(event.cause_ms // TURN_MS), int((event.cause_ms + LATE_MS) // TURN_MS) + 1)
            said = " ".join(outputs[turn].say for turn in turns if turn < len(outputs)).split()
            found.append((float(after_ms[0]), said[:1] == event.words.split()[:1]))
    return found


async def main(url: str, num_sessions: int, at_once: int) -> None:
    """Print medians and 95th percentiles, of all answers and of those whose first word is right."""

    async def line(scenarios: Iterator[Scenario]) -> list[tuple[float, bool]]:
        return [one for scenario in scenarios for one in await answered_ms(url, scenario)]

    scenarios = [generate("say", seed, "heldout", assistant=False) for seed in range(num_sessions)]
    shared = iter(scenarios)
    found = list(itertools.chain(*await asyncio.gather(*(line(shared) for _ in range(at_once)))))
    for name, some in (("all answers", found), ("right first words", [one for one in found if one[1]])):
        waits_ms = [wait_ms for wait_ms, _ in some]
        if waits_ms:
            middle, slow = np.percentile(waits_ms, [50, 95])
            print(f"{name}: {len(some)}, median {middle:.0f} ms, 95 % within {slow:.0f} ms")


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))
