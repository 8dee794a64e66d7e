"""``interrupt``: the user begins to speak while the model says something long; it stops, and answers what is new.

What takes a word or two is said to its end: the answers of ``cue`` and ``time`` come while the user speaks.
"""

from __future__ import annotations

from microturn.language.wordings import SAY, STOP, combination, plain_sentence
from microturn.scenario.families import say
from microturn.scenario.script import REPLY_LATE_MS, WORD_ESTIMATE_MS, Script, estimate_ms
from microturn.turn import TURN_MS, TextIn

SAID_WORDS = (6, 9)
"""How many words there are to say."""
UNSAID_WORDS = 3
"""So many at least are left when the user begins."""


def build(script: Script) -> None:
    """One or two long answers or results, each interrupted by "stop", by a request, or by talk that asks nothing."""
    rng = script.rng
    for _ in range(int(rng.integers(1, 3))):
        script.pause(300.0, 1500.0)
        count = int(rng.integers(SAID_WORDS[0], SAID_WORDS[1] + 1))
        _begin(script, " ".join(combination(rng, script.split, count, script.content)))
        script.pause(WORD_ESTIMATE_MS, (count - UNSAID_WORDS) * WORD_ESTIMATE_MS)
        script.interrupt()
        kind = rng.random()
        if kind < 0.4:
            script.speak(STOP.draw(rng, script.split, polite=False))
        elif kind < 0.8:
            request, reply = say.draw_request(rng, script.split, script.content)
            script.answer(reply, script.speak(request)[-1].end_ms)
        else:
            script.speak(plain_sentence(rng, script.split))
        script.wait_until(script.busy_until_ms)


def _begin(script: Script, text: str) -> None:
    """The model says ``text``, for somebody asked for it, aloud or in writing, or a job brings it; until it begins."""
    words = text.split()
    beginnings = tuple(" ".join(words[:count]) for count in range(len(words) - 1, 0, -1))
    kind = script.rng.random()
    if kind < 0.6:
        request_end_ms = script.speak(SAY.draw(script.rng, script.split, x=text))[-1].end_ms
        script.answer(text, request_end_ms, or_words=beginnings)
    elif kind < 0.75:
        script.answer_typed(SAY.draw(script.rng, script.split, x=text), text, or_words=beginnings)
    else:
        turn = int(script.now_ms // TURN_MS)
        script.give_text(TextIn.from_job(None, text), turn)
        script.now_ms = float((turn + 1) * TURN_MS)
        at_ms = script.say(text, turn + 1)
        script.expect(text, at_ms, at_ms - script.now_ms, REPLY_LATE_MS, script.now_ms, or_words=beginnings)
    script.wait_until(script.busy_until_ms - estimate_ms(text))
