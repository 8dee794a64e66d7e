"""``count``: the user asks to count, a figure exercises, the model counts aloud as each repetition completes."""

from __future__ import annotations

from microturn.scenario.count import SEEN_LAG_MS, CountVideo, draw_count_video
from microturn.scenario.lexicon import number_words
from microturn.scenario.scenario import first_turn_heard_after
from microturn.scenario.timeline import Timeline
from microturn.scenario.wordings import COUNT, STOP
from microturn.turn import TURN_MS

LATE_MS = 1500.0
MAX_VIDEO_MS = 24_000.0


def build(timeline: Timeline) -> None:
    """A request, then the video; in half of the sessions the resting figure is in view from the start."""
    rng = timeline.rng
    video = draw_count_video(rng, timeline.split, timeline.timings, MAX_VIDEO_MS)
    start_ms = timeline.now_ms
    timeline.pause(200.0, 1500.0)
    request_end_ms = timeline.speak(COUNT.draw(rng, timeline.split, x=video.exercise))[-1].end_ms
    first_turn = int((request_end_ms + rng.uniform(100.0, 1200.0)) // TURN_MS) + 1
    if rng.random() < 0.5:
        resting = video.frames[min(video.frames)]
        timeline.show(dict.fromkeys(range(int(start_ms // TURN_MS) + 1, first_turn), resting), 0)
    timeline.show(video.frames, first_turn)
    _count_aloud(timeline, video, first_turn)
    timeline.wait_until(first_turn * TURN_MS + video.duration_ms)
    if timeline.strung:
        timeline.wait_until(timeline.busy_until_ms)
        timeline.pause(200.0, 800.0)
        timeline.speak(STOP.draw(rng, timeline.split, polite=False))
        timeline.pause(300.0, 600.0)


def _count_aloud(timeline: Timeline, video: CountVideo, first_turn: int) -> None:
    """Numbers in order, each as soon as its repetition is over and the last number has been said."""
    ends_ms = [first_turn * TURN_MS + end_ms for end_ms in video.rep_end_ms]
    for number, end_ms in enumerate(ends_ms, start=1):
        words = " ".join(number_words(number))
        at_ms = timeline.say(words, first_turn_heard_after(end_ms + SEEN_LAG_MS))
        timeline.expect(words, at_ms, at_ms - end_ms, LATE_MS, end_ms)
    timeline.true_count = len(ends_ms)
    timeline.penultimate_end_ms = ends_ms[-2] if len(ends_ms) > 1 else None
