"""How long a running server takes: to the first sound of an answer, and to silence when somebody speaks into it.

    .venv/bin/python scripts/live-reaction.py URL SESSIONS [AT_ONCE]

Held-out sessions of ``say``, then of ``interrupt``, are streamed in real time, so many at once, and the sound is placed
where it arrives, on the client's clock. An answer counts if it begins within ``LATE_MS`` of its request's end, an
interruption if the model was speaking when it began; both are known to the millisecond.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from microturn.scenario.generate import generate
from microturn.scenario.scenario import Scenario
from microturn.server.client import Player, Sent, connected
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TurnInput, TurnOutput

LATE_MS = 1500.0
AUDIBLE = 0.01
"""Peak from which on sound is heard."""
PAUSE_MS = 200.0
"""Whoever is quiet for so long has stopped."""

Times = NDArray[np.float64]
Measure = Callable[[Scenario, Times, list[TurnOutput]], Iterator[tuple[str, float]]]
"""Names of figures and milliseconds."""


def inputs(scenario: Scenario) -> list[TurnInput]:
    sound = scenario.user.reshape(scenario.num_turns, -1)
    return [
        TurnInput(sound[turn], scenario.frames.get(turn), scenario.texts.get(turn, ()))
        for turn in range(scenario.num_turns)
    ]


async def played(url: str, scenario: Scenario) -> tuple[Times, list[TurnOutput]]:
    """When anything of the model was heard, and its turns."""
    outputs: list[TurnOutput] = []
    sent = [Sent.of(given) for given in inputs(scenario)]
    async with connected(url) as client:
        measured = await Player(sent, lambda given, output, compute_ms: outputs.append(output)).run(client)
    if measured.refused:
        sys.exit(measured.refused)
    sound = np.concatenate([output.audio for output in outputs])
    return TURN_MS + np.flatnonzero(np.abs(sound) > AUDIBLE) * 1000 / SAMPLE_RATE_HZ, outputs


def answers(scenario: Scenario, loud_ms: Times, outputs: list[TurnOutput]) -> Iterator[tuple[str, float]]:
    """After how long each spoken request was answered; those again of which the first word is right."""
    spoken = {word.end_ms for word in scenario.heard}
    for event in scenario.events:
        after_ms = loud_ms[loud_ms > event.cause_ms] - event.cause_ms
        busy = ((loud_ms <= event.cause_ms) & (loud_ms > event.cause_ms - TURN_MS)).any()
        if event.cause_ms in spoken and not busy and len(after_ms) and after_ms[0] < LATE_MS:
            yield "answered", float(after_ms[0])
            turns = range(int(event.cause_ms // TURN_MS), int((event.cause_ms + LATE_MS) // TURN_MS) + 1)
            said = " ".join(outputs[turn].say for turn in turns if turn < len(outputs)).split()
            if said[:1] == event.words.split()[:1]:
                yield "first word right", float(after_ms[0])


def silences(scenario: Scenario, loud_ms: Times, outputs: list[TurnOutput]) -> Iterator[tuple[str, float]]:
    """After how long the model was silent once it was interrupted, whether it stopped or came to its end."""
    for start_ms in scenario.interrupted_ms:
        if ((loud_ms <= start_ms) & (loud_ms > start_ms - PAUSE_MS)).any():
            times_ms = np.append(loud_ms[loud_ms > start_ms], np.inf)
            pauses = np.flatnonzero(np.diff(times_ms, prepend=start_ms) > PAUSE_MS)
            yield "silent", float(times_ms[pauses[0] - 1] - start_ms) if pauses[0] else 0.0


FAMILIES: dict[str, Measure] = {"say": answers, "interrupt": silences}


async def _line(url: str, scenarios: Iterator[Scenario], measure: Measure, found: dict[str, list[float]]) -> None:
    for scenario in scenarios:
        for name, wait_ms in measure(scenario, *await played(url, scenario)):
            found.setdefault(name, []).append(wait_ms)


async def main(url: str, num_sessions: int, at_once: int) -> None:
    """Print medians and 95th percentiles."""
    for family, measure in FAMILIES.items():
        found: dict[str, list[float]] = {}
        scenarios = iter([generate(family, seed, "heldout", assistant=False) for seed in range(num_sessions)])
        await asyncio.gather(*(_line(url, scenarios, measure, found) for _ in range(at_once)))
        for name, waits_ms in found.items():
            middle, slow = np.percentile(waits_ms, [50, 95])
            print(f"{family}, {name}: {len(waits_ms)}, median {middle:.0f} ms, 95 % within {slow:.0f} ms")


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))
