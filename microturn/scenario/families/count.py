"""``count``: the user asks to count, a figure exercises, the model counts aloud as each repetition completes."""

from __future__ import annotations

from microturn.language.lexicon import number_words
from microturn.language.wordings import COUNT, STOP
from microturn.pictures.repetitions import SEEN_LAG_MS, CountVideo, draw_count_video
from microturn.scenario.scenario import first_turn_heard_after
from microturn.scenario.script import Script
from microturn.turn import TURN_MS

LATE_MS = 1500.0
MAX_VIDEO_MS = 24_000.0


def build(script: Script) -> None:
    """A request, then the video; in half of the sessions the resting figure is in view from the start."""
    rng = script.rng
    video = draw_count_video(rng, script.split, script.timings, MAX_VIDEO_MS)
    start_ms = script.now_ms
    script.pause(200.0, 1500.0)
    request_end_ms = script.speak(COUNT.draw(rng, script.split, x=video.exercise))[-1].end_ms
    first_turn = int((request_end_ms + rng.uniform(100.0, 1200.0)) // TURN_MS) + 1
    if rng.random() < 0.5:
        resting = video.frames[min(video.frames)]
        script.show(dict.fromkeys(range(int(start_ms // TURN_MS) + 1, first_turn), resting), 0)
    script.show(video.frames, first_turn)
    _count_aloud(script, video, first_turn)
    script.wait_until(first_turn * TURN_MS + video.duration_ms)
    if script.strung:
        script.wait_until(script.busy_until_ms)
        script.pause(200.0, 800.0)
        script.speak(STOP.draw(rng, script.split, polite=False))
        script.pause(300.0, 600.0)


def _count_aloud(script: Script, video: CountVideo, first_turn: int) -> None:
    """Numbers in order, each as soon as its repetition is over and the last number has been said."""
    ends_ms = [first_turn * TURN_MS + end_ms for end_ms in video.timing.end_ms]
    for number, end_ms in enumerate(ends_ms, start=1):
        words = " ".join(number_words(number))
        at_ms = script.say(words, first_turn_heard_after(end_ms + SEEN_LAG_MS))
        script.expect(words, at_ms, at_ms - end_ms, LATE_MS, end_ms)
    script.true_count = len(ends_ms)
    script.penultimate_end_ms = ends_ms[-2] if len(ends_ms) > 1 else None
