"""A stand-in for the model: it obeys the session's protocol and answers in a way that is known."""

from __future__ import annotations

import numpy as np
import pytest

import microturn.cli.talk
from microturn.turn import TURN_SAMPLES, TurnInput, TurnOutput


class Echo:
    """Says "loud" one turn after each loud turn, "typed" when something is typed, and hears "noise" in loud ones."""

    def __init__(self) -> None:
        self.turn = 0
        self.inputs: list[TurnInput] = []
        self._was_loud = False

    def step(self, turn_input: TurnInput) -> TurnOutput:
        loud = turn_input.audio is not None and float(np.abs(turn_input.audio).max()) > 0.1
        said = (" loud" if self._was_loud else "") + (" typed" if turn_input.texts else "")
        sound = np.full(TURN_SAMPLES, 0.25 if said else 0.0, np.float32)
        output = TurnOutput(self.turn, " noise" if loud else "", said, None, bool(said), sound)
        self.inputs.append(turn_input)
        self.turn, self._was_loud = self.turn + 1, loud
        return output


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> list[TurnInput]:
    """``microturn talk`` opens an ``Echo``, whatever weights it is asked for. Gives the turns that it took."""
    session = Echo()
    monkeypatch.setattr(microturn.cli.talk, "open_talker", lambda weights, seed: session)
    return session.inputs
