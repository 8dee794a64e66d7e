"""The two ends of the sound card: they never wait, and what is queued is dropped when the model yields."""

from __future__ import annotations

from threading import Thread

import numpy as np

from microturn.media.typed import TypedText
from microturn.session.soundcard import CUSHION_SAMPLES, KEPT_SAMPLES, Loudspeaker, Microphone
from microturn.turn import TURN_SAMPLES, Pcm, TurnInput, TurnOutput

QUIET = TurnInput(audio=np.zeros(TURN_SAMPLES, np.float32))
LOUD = TurnInput(audio=np.full(TURN_SAMPLES, 0.2, np.float32))


def turn(speaking: bool, level: float = 0.5, tail: int = 0) -> TurnOutput:
    audio = np.zeros(TURN_SAMPLES, np.float32)
    audio[: TURN_SAMPLES if speaking else tail] = level
    return TurnOutput(0, "", "", None, speaking, audio)


def heard(loudspeaker: Loudspeaker, num_samples: int) -> Pcm:
    out = np.full(num_samples, np.nan, np.float32)
    loudspeaker.fill(out)
    return out


def test_capture_never_waits_for_the_inbox() -> None:
    microphone = Microphone()
    with microphone._lock:
        thread = Thread(target=microphone.capture, args=(np.ones(TURN_SAMPLES, np.float32),), daemon=True)
        thread.start()
        thread.join(2)
        assert not thread.is_alive()
    audio = microphone.take(0).audio
    assert audio is not None and audio.all()
    assert microphone.take(0).audio is None


def test_typed_text_comes_in_its_turn() -> None:
    microphone = Microphone([TypedText(2, "two"), TypedText(1, "one")])
    assert [[text.text for text in microphone.take(100).texts] for _ in range(4)] == [[], ["one"], ["two"], []]


def test_an_utterance_is_heard_whole_and_in_one_piece() -> None:
    """Blocks of any size; the second turn comes later than the first one lasts, but within the cushion."""
    loudspeaker = Loudspeaker()
    loudspeaker.take(QUIET, turn(True, 0.5))
    parts = [heard(loudspeaker, 333) for _ in range((TURN_SAMPLES + CUSHION_SAMPLES // 2) // 333)]
    loudspeaker.take(QUIET, turn(True, 0.25))
    parts += [heard(loudspeaker, 777) for _ in range(4)]
    loudspeaker.take(QUIET, turn(False, 0.125, tail=100))
    sound = np.concatenate([*parts, heard(loudspeaker, 2 * TURN_SAMPLES)])
    expected = np.concatenate(
        [np.zeros(CUSHION_SAMPLES), np.full(TURN_SAMPLES, 0.5), np.full(TURN_SAMPLES, 0.25), np.full(100, 0.125)]
    )
    np.testing.assert_array_equal(sound[: len(expected)], expected.astype(np.float32))
    assert not sound[len(expected) :].any()
    assert (loudspeaker.num_late, loudspeaker.dropped_samples) == (0, 0)


def test_a_turn_that_is_too_late_is_counted_once() -> None:
    loudspeaker = Loudspeaker()
    heard(loudspeaker, TURN_SAMPLES)
    loudspeaker.take(QUIET, turn(True))
    for _ in range(3):
        heard(loudspeaker, TURN_SAMPLES)
    assert loudspeaker.num_late == 1


def test_what_is_queued_is_dropped_when_the_model_yields() -> None:
    loudspeaker = Loudspeaker()
    for _ in range(4):
        loudspeaker.take(QUIET, turn(True))
    heard(loudspeaker, CUSHION_SAMPLES + 500)
    loudspeaker.take(LOUD, turn(False, tail=800))
    sound = heard(loudspeaker, 5 * TURN_SAMPLES)
    assert sound[: KEPT_SAMPLES - 100].all() and not sound[KEPT_SAMPLES:].any()
    # It fades: no click.
    assert np.abs(np.diff(sound)).max() < 0.02
    assert loudspeaker.dropped_samples == 4 * TURN_SAMPLES - 500 - KEPT_SAMPLES


def test_what_is_queued_is_heard_when_nobody_interrupts() -> None:
    loudspeaker = Loudspeaker()
    for _ in range(4):
        loudspeaker.take(QUIET, turn(True))
    loudspeaker.take(QUIET, turn(False))
    sound = heard(loudspeaker, 5 * TURN_SAMPLES)
    assert np.count_nonzero(sound) == 4 * TURN_SAMPLES and loudspeaker.dropped_samples == 0
