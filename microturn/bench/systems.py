"""Everything that can be scored is a system: it opens a session and plays scenarios in it, turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from microturn.scenario.scenario import Scenario
from microturn.turn import TURN_SAMPLES, TurnInput, TurnOutput


class Sitting(Protocol):
    """One open session."""

    def play(self, scenario: Scenario) -> list[TurnOutput]:
        """Hold ``scenario`` as the next stretch of this session: one output a turn, turns counted from the stretch's
        start."""


class System(Protocol):
    """Something that answers what comes in."""

    @property
    def name(self) -> str:
        """The name in the tables."""

    def open(self) -> Sitting:
        """A new session."""

    def run_many(self, scenarios: Sequence[Scenario]) -> Iterator[list[TurnOutput]]:
        """Every scenario in a session of its own; the outputs in the order of ``scenarios``."""


@dataclass(frozen=True)
class Stateless:
    """A system that remembers nothing from one stretch to the next: it is its own session."""

    name: str
    play: Callable[[Scenario], list[TurnOutput]]

    def open(self) -> Sitting:
        return self

    def run_many(self, scenarios: Sequence[Scenario]) -> Iterator[list[TurnOutput]]:
        return map(self.play, scenarios)


def turn_inputs(scenario: Scenario) -> Iterator[TurnInput]:
    """What comes in during each turn of ``scenario``."""
    for turn in range(scenario.num_turns):
        audio = scenario.user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES]
        yield TurnInput(
            audio=None if turn in scenario.gaps else audio,
            frame=scenario.frames.get(turn),
            texts=scenario.texts.get(turn, ()),
        )
