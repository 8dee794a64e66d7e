"""A session: one row of the model with its own memory and clock."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.errors import InputError
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, TurnInput
from tests.parity.small import SHORT_MEMORY, fresh_state, open_session, random_input, same, small_model


def test_turns_count_up_and_outputs_say_which_they_are() -> None:
    session = open_session()
    rng = np.random.default_rng(0)
    for turn in range(5):
        assert session.turn == turn
        output = session.step(random_input(rng))
        assert (output.turn, output.t_ms) == (turn, 200 * turn)
        assert output.audio.shape == (TURN_SAMPLES,) and output.audio.dtype == np.float32
        assert np.abs(output.audio).max() <= 1.0


def test_silence_is_silent() -> None:
    """Where the model listens there is no sound but the last 50 ms of what it said before."""
    session = open_session()
    rng = np.random.default_rng(1)
    outputs = [session.step(random_input(rng)) for _ in range(25)]
    spoke = [False, *(output.speaking for output in outputs[:-1])]
    listening = [(output, before) for output, before in zip(outputs, spoke, strict=True) if not output.speaking]
    assert {before for _, before in listening} == {True, False}
    for output, before in listening:
        assert not output.audio[800 if before else 0 :].any()
    assert all(output.audio.any() for output in outputs if output.speaking)


def test_a_refused_turn_is_no_turn() -> None:
    session, plain = open_session(), open_session()
    rng = np.random.default_rng(2)
    for _ in range(4):
        with pytest.raises(InputError, match="shape"):
            session.step(TurnInput(audio=np.zeros(7, np.float32)))
        given = random_input(rng)
        assert same(session.step(given), plain.step(given))


def test_outputs_are_the_callers_own() -> None:
    """Writing into what came out changes nothing of what comes next."""
    session, plain = open_session(), open_session()
    rng = np.random.default_rng(3)
    for _ in range(8):
        given = random_input(rng)
        output, expected = session.step(given), plain.step(given)
        assert same(output, expected)
        output.audio[:] = 9.0


def test_inputs_stay_the_callers_own() -> None:
    """A buffer that is used again for the next turn's sound is no part of the memory, and is not written to."""
    session, plain = open_session(), open_session()
    rng = np.random.default_rng(4)
    buffer = np.zeros(TURN_SAMPLES, np.float32)
    for _ in range(8):
        sound = rng.normal(0, 0.1, TURN_SAMPLES).astype(np.float32)
        buffer[:] = sound
        output = session.step(TurnInput(audio=buffer))
        assert np.array_equal(buffer, sound)
        assert same(output, plain.step(TurnInput(audio=sound)))


@pytest.mark.parametrize("turns", [0, 1, 6])
def test_an_exported_session_goes_on_anywhere(turns: int) -> None:
    session = open_session(seed=5)
    rng = np.random.default_rng(5)
    for _ in range(turns):
        session.step(random_input(rng))
    data = session.export()
    other = Session.imported(small_model(SHORT_MEMORY), data)
    assert other.turn == session.turn == turns
    assert other.export() == data
    for _ in range(5):
        given = random_input(rng)
        assert same(session.step(given), other.step(given))


def test_a_session_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="exported session of another"):
        Session.imported(small_model(SHORT_MEMORY), fresh_state(SHORT_MEMORY, size=2).export(0))
