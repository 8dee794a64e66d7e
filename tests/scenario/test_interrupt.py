"""Interruptions: the model stops soon after the user begins, and what it had left to say is never said."""

from __future__ import annotations

import pytest

from microturn.scenario.generate import generate
from microturn.scenario.scenario import YIELD_MS
from microturn.turn import TURN_MS

pytestmark = pytest.mark.assistant


@pytest.mark.parametrize("seed", range(8))
def test_the_model_stops_when_the_user_begins(seed: int) -> None:
    made = generate("interrupt", seed, "train", sound=False)
    assert 1 <= len(made.interrupted_ms) <= 2
    speaking = made.speaking()
    for start_ms in made.interrupted_ms:
        begins = next(word for word in made.heard if word.start_ms > start_ms - 1.0)
        assert begins.start_ms - start_ms < TURN_MS
        said = [utterance for utterance in made.said if (utterance.turn + 1) * TURN_MS <= start_ms][-1]
        if said.cut:
            end_ms = (said.turn + said.num_turns + 1) * TURN_MS
            assert start_ms + YIELD_MS - TURN_MS <= end_ms <= start_ms + YIELD_MS + TURN_MS
            assert not speaking[said.turn + said.num_turns]
            wanted = next(event for event in made.events if event.at_ms == (said.turn + 1) * TURN_MS)
            words = " ".join(word.text for word in said.speech.words)
            assert wanted.words.startswith(words) and words in (wanted.words, *wanted.or_words)
    assert any(utterance.cut for utterance in made.said)


def test_when_the_user_begins_does_not_depend_on_the_models_voice() -> None:
    with_voice = generate("interrupt", 3, "heldout", sound=False)
    without = generate("interrupt", 3, "heldout", sound=False, assistant=False)
    assert with_voice.heard == without.heard and with_voice.interrupted_ms == without.interrupted_ms
