"""What was heard of what was sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.errors import InputError
from microturn.session.playback import Heard, Playback


def test_an_interrupted_word_was_not_heard() -> None:
    playback = Playback()
    for start_ms in (1000, 1200, 1400):
        playback.sent(start_ms, start_ms + 200)
    playback.acknowledge(1250, dropped=False)
    assert playback.heard == Heard(600, 250, 0)
    playback.acknowledge(1300, dropped=True)
    assert playback.heard == Heard(600, 300, 300)
    playback.sent(4000, 4200)
    playback.acknowledge(4200, dropped=False)
    assert playback.heard == Heard(800, 500, 300)


@pytest.mark.parametrize("until_ms", [-1, 99, 301])
def test_times_that_cannot_be_are_refused(until_ms: int) -> None:
    playback = Playback()
    playback.sent(100, 300)
    playback.acknowledge(100, dropped=False)
    with pytest.raises(InputError, match="expected 100 to 300"):
        playback.acknowledge(until_ms, dropped=False)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 1)), max_size=50))
def test_nothing_is_heard_twice(events: list[tuple[int, bool, float]]) -> None:
    playback = Playback()
    for gap, dropped, part in events:
        start_ms = playback.sent_until_ms + 200 * gap
        playback.sent(start_ms, start_ms + 200)
        span_ms = playback.sent_until_ms - playback.heard_until_ms
        playback.acknowledge(playback.heard_until_ms + round(part * span_ms), dropped=dropped)
    heard = playback.heard
    assert heard.sent_ms == 200 * len(events) and heard.heard_ms + heard.dropped_ms <= heard.sent_ms
    playback.acknowledge(playback.sent_until_ms, dropped=False)
    assert playback.heard.heard_ms + playback.heard.dropped_ms == heard.sent_ms
