"""A session: one conversation with the model, one turn in and one turn out."""

from __future__ import annotations

from microturn.errors import InputError
from microturn.model.microturn import Microturn
from microturn.model.state import State
from microturn.turn import TurnInput, TurnOutput


class Session:
    """One row of the model with its own memory.

    >>> session = Session.open(load("nano"))                                # doctest: +SKIP
    >>> output = session.step(TurnInput(audio=np.zeros(3200, np.float32)))  # doctest: +SKIP
    """

    def __init__(self, model: Microturn, state: State) -> None:
        self._model = model
        self._state = state

    @classmethod
    def open(cls, model: Microturn, *, seed: int = 0) -> Session:
        """Start a session; the same ``seed`` and inputs give the same outputs, bit for bit, on one machine."""
        return cls(model, model.initial_state(1, [seed]))

    @property
    def turn(self) -> int:
        """Index of the next turn."""
        return int(self._state.turn_R[0])

    @property
    def state(self) -> State:
        """What the session remembers."""
        return self._state

    @property
    def num_bytes(self) -> int:
        """Memory that the session takes, however long it is."""
        return self._state.num_bytes()

    def step(self, turn_input: TurnInput) -> TurnOutput:
        """One turn of 200 ms: what came in, then what goes out.

        ``turn_input.audio`` is (3200,) float32 at 16 kHz, or ``None`` for a gap. The output's ``audio`` has the same
        shape and is heard from ``(turn + 1) * 200`` ms on. Raises ``InputError`` for an input that is not acceptable
        (the session is unchanged then).
        """
        outputs, state = self._model.step([turn_input], self._state)
        output = outputs[0]
        if isinstance(output, InputError):
            raise output
        assert output is not None
        self._state = state
        return output

    def export(self) -> bytes:
        """Everything that the session remembers."""
        return self._state.export(0)

    @classmethod
    def imported(cls, model: Microturn, data: bytes) -> Session:
        """Go on with a session that was exported. Raises ``InputError`` if it is of a model of another size."""
        return cls(model, model.initial_state(1).imported(0, data))
