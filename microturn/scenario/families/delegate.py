"""``delegate``: hand over what needs thought, say so, stay there, and say what jobs bring at a moment that suits.

A request is handed over in the turn in which it is over, with a word or two to hold the line; so is what puts it right
while its job runs, and "never mind" cancels. What a job brings is said in the turn after it came in if the user is
silent, else as soon as he has been for ``SILENT_MS``: pauses within speech are shorter. Beside this the user says what
is not to be handed over: requests that the model answers itself, now or in time, and talk that asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from microturn.language.lexicon import NUMBERS
from microturn.language.wordings import CUE, NEVER_MIND, ONCE, aside, loose_words, plain_sentence
from microturn.scenario.asked import HOLDS, Asked, draw_asked
from microturn.scenario.families import cue, free, say, time
from microturn.scenario.scenario import first_turn_heard_after
from microturn.scenario.script import REPLY_LATE_MS, Script, estimate_ms
from microturn.turn import TURN_MS, Act, TextIn

DELEGATE = "delegate"
HOLD = "hold"
"""Kind of the events that only tell that something has been handed over, changed or cancelled."""
TYPED_SHARE = 0.1
TALK_SHARE = 0.45
"""Share of results that come in while the user talks."""
NUMBERED_SHARE = 0.5
"""Share of sessions in which what jobs bring says which job it is from."""
RULE_SHARE = 0.25
"""Of the stories in which the user goes on: those with a rule."""
SILENT_MS = 500.0
"""The user has fallen silent when nothing was heard of him for so long."""
LATE_MS = 1000.0
"""How long after the user fell silent, or after it came in, a result still counts."""
OKAY = "okay"
OR_HOLDS = (*sorted({*HOLDS.values()}), OKAY)
"""What may be said where something is handed over."""
MAX_BETWEEN_MS = 5000.0
"""Longer results are not said while a timer runs."""
MAX_PIECES = 3
"""What is not longer than one piece may come in so many all the same."""
PIECE_WORDS = 10
"""The server cuts what is longer, about so: a turn reads no more."""
LONG_WORD_LETTERS = 7
"""Longer words may take the model more than ``WORD_ESTIMATE_MS``."""

Numbers = tuple[int | None, int | None]
"""Of the first job and of the second one, if they are told."""


def build(script: Script) -> None:
    """One story, sometimes with something before or after it that is not to be handed over."""
    rng = script.rng
    script.pause(200.0, 1200.0)
    story = STORIES[int(rng.choice(len(STORIES), p=STORY_SHARES))]
    beside = rng.random()
    if beside < 0.3:
        _beside(script)
        script.pause(300.0, 1200.0)
    story(script, (1, 2) if rng.random() < NUMBERED_SHARE else (None, None))
    if beside > 0.8:
        script.pause(500.0, 1500.0)
        _beside(script)


# Stories.


def _alone(script: Script, numbers: Numbers) -> None:
    asked = draw_asked(script.rng, script.split)
    _ask(script, asked)
    script.pause(0.0, 4000.0)
    bring(script, numbers[0], asked.result)


def _stays(script: Script, numbers: Numbers) -> None:
    """While the job runs the model answers, keeps time, or follows a rule, which nobody would end in a string."""
    rng = script.rng
    asked = draw_asked(rng, script.split)
    least = RULE_SHARE if script.strung else 0.0
    kind = least + (1.0 - least) * rng.random()
    if kind < RULE_SHARE:
        rule = _set_rule(script, asked)
        _ask(script, asked)
        script.pause(300.0, 1200.0)
        _talk_with_cue(script, *rule)
    else:
        _ask(script, asked)
        script.pause(300.0, 1200.0)
        if kind < 0.4:
            _time(script)
        elif kind < 0.55 and estimate_ms(asked.result) <= MAX_BETWEEN_MS:
            _time(script, numbers[0], asked.result)
            return
        else:
            _request(script)
            if kind > 0.8:
                script.pause(300.0, 1000.0)
                _request(script)
    script.pause(200.0, 2000.0)
    bring(script, numbers[0], asked.result)


def _corrected(script: Script, numbers: Numbers) -> None:
    asked = draw_asked(script.rng, script.split, correctable=True)
    _ask(script, asked)
    script.pause(300.0, 2000.0)
    start_ms = script.now_ms
    script.speak(asked.correction)
    script.due(Act.DELEGATE, start_ms, corrects=True)
    _hold(script, OKAY)
    script.pause(0.0, 4000.0)
    bring(script, numbers[0], asked.corrected)


def _cancelled(script: Script, numbers: Numbers) -> None:
    """The only job, or the newer one of two. In half of the sessions in which that can be told, its result was on its
    way already."""
    rng = script.rng
    jobs = [draw_asked(rng, script.split) for _ in range(1 if rng.random() < 0.7 else 2)]
    for asked in jobs:
        _ask(script, asked)
        script.pause(300.0, 1500.0)
    start_ms = script.now_ms
    script.speak(NEVER_MIND.draw(rng, script.split, polite=False))
    script.due(Act.CANCEL, start_ms)
    _hold(script, OKAY, Act.CANCEL)
    script.pause(200.0, 2000.0)
    if rng.random() < 0.5 and (numbers[0] or len(jobs) == 1):
        _give(script, numbers[len(jobs) - 1], jobs[-1].result, int(script.now_ms // TURN_MS))
        script.pause(1500.0, 2500.0)
    if len(jobs) > 1:
        bring(script, numbers[0], jobs[0].result)
    elif rng.random() < 0.5:
        _beside(script)
    script.pause(1000.0, 2500.0)


def _two(script: Script, numbers: Numbers) -> None:
    """Two jobs at a time; what they bring comes in either order, one after the other or at nearly the same time."""
    rng = script.rng
    jobs = [draw_asked(rng, script.split) for _ in range(2)]
    for asked in jobs:
        _ask(script, asked)
        script.pause(300.0, 1500.0)
    results = [(number, asked.result) for number, asked in zip(numbers, jobs, strict=True)]
    if rng.random() < 0.5:
        results.reverse()
    script.pause(0.0, 2000.0)
    if rng.random() < 0.6:
        for number, result in results:
            bring(script, number, result)
            script.pause(0.0, 2000.0)
        return
    turn = int(script.now_ms // TURN_MS)
    for number, result in results:
        _give(script, number, result, turn)
        _say(script, result, turn)
        turn += 3 + int(rng.integers(0, 6))


STORIES: tuple[Callable[[Script, Numbers], None], ...] = (_alone, _stays, _corrected, _cancelled, _two)
STORY_SHARES = (0.3, 0.25, 0.15, 0.15, 0.15)

# What is handed over, and what comes back.


def _ask(script: Script, asked: Asked) -> None:
    """The user asks, and listens to what holds the line."""
    start_ms = script.now_ms
    if script.rng.random() < TYPED_SHARE:
        script.kind = HOLD
        late_ms = REPLY_LATE_MS + TURN_MS
        end_ms = script.answer_typed(asked.text, asked.hold, late_ms, Act.DELEGATE, or_words=OR_HOLDS)
        script.kind = DELEGATE
        script.due(Act.DELEGATE, start_ms)
        script.wait_until(end_ms)
    else:
        script.speak(asked.text)
        script.due(Act.DELEGATE, start_ms)
        _hold(script, asked.hold)


def _hold(script: Script, text: str, act: Act = Act.DELEGATE) -> None:
    """What was just said is over: the model asks for ``act`` and says ``text``, and the user listens."""
    script.kind = HOLD
    or_words = OR_HOLDS if act is Act.DELEGATE else ()
    script.wait_until(script.answer(text, script.now_ms, act, or_words=or_words))
    script.kind = DELEGATE


def bring(script: Script, number: int | None, result: str, talk_share: float = TALK_SHARE) -> None:
    """A job brings its result, while the user is silent or says something that asks nothing; then he listens."""
    rng = script.rng
    turn = int(script.now_ms // TURN_MS)
    if rng.random() < talk_share:
        script.pause(0.0, 800.0)
        start_ms = script.now_ms
        script.speak(plain_sentence(rng, script.split) if rng.random() < 0.6 else " ".join(loose_words(rng, 8)))
        script.due(None, start_ms)
        turn = int(rng.uniform(start_ms + 200.0, script.now_ms + 200.0) // TURN_MS)
    _give(script, number, result, turn)
    _say(script, result, turn)


def bring_written(script: Script, number: int | None, sentences: Sequence[str], max_turns: int) -> None:
    """A job brings its result sentence by sentence, the next ``MAX_PIECES`` to ``max_turns`` later, while the user is
    silent."""
    turn = int(script.now_ms // TURN_MS)
    for sentence in sentences:
        _give(script, number, sentence, turn)
        _say(script, sentence, turn)
        turn += int(script.rng.integers(MAX_PIECES, max_turns + 1))


def _give(script: Script, number: int | None, result: str, turn: int) -> None:
    """The result comes in from ``turn`` on, in one to three pieces in as many turns, or as many as it needs."""
    words = result.split()
    num_pieces = min(len(words), int(script.rng.choice([1, 1, 2, MAX_PIECES])))
    ends = sorted(int(end) + 1 for end in script.rng.permutation(len(words) - 1)[: num_pieces - 1])
    if script.split == "train" and len(words) > PIECE_WORDS:  # held-out sessions stay what they were
        ends = list(range(PIECE_WORDS, len(words), PIECE_WORDS))
    for place, (start, end) in enumerate(zip([0, *ends], [*ends, len(words)], strict=True)):
        text = " ".join(words[start:end])
        script.give_text(TextIn.from_job(number, text), turn + place)


def _say(script: Script, result: str, turn: int) -> None:
    """The model says what has come in since ``turn``, when the user is silent and nothing else is being said."""
    user_end_ms, busy_until_ms = script.heard_until_ms, script.busy_until_ms
    from_ms = max(float((turn + 1) * TURN_MS), user_end_ms)
    free_ms = max(from_ms, script.said_until_ms)
    at_ms = script.say(result, max(turn + 1, first_turn_heard_after(user_end_ms + SILENT_MS)))
    script.expect(result, at_ms, at_ms - from_ms, free_ms + LATE_MS - at_ms, from_ms)
    long_words = sum(len(word) > LONG_WORD_LETTERS for word in result.split())
    script.wait_until(max(from_ms, busy_until_ms) + SILENT_MS + estimate_ms(result) + TURN_MS * long_words)


# What is not handed over.


def _beside(script: Script) -> None:
    """A request that the model answers itself, now or in time, or something that asks nothing."""
    kind = script.rng.random()
    if kind < 0.4:
        _request(script)
    elif kind < 0.55:
        _time(script)
    else:
        start_ms = script.now_ms
        script.speak(aside(script.rng, script.split) if kind < 0.75 else free.draw_text(script))
        script.due(None, start_ms)


def _request(script: Script) -> None:
    """A request of ``say``, and its answer."""
    script.kind = "say"
    request, reply = say.draw_request(script.rng, script.split, script.content)
    start_ms = script.now_ms
    script.speak(request)
    script.due(None, start_ms)
    script.wait_until(script.answer(reply, script.now_ms))
    script.kind = DELEGATE


def _time(script: Script, number: int | None = None, result: str = "") -> None:
    """A request of ``time``, and what is said in time; meanwhile a job may bring its result."""
    least = 4 + int(estimate_ms(result) / 1000.0) if result else 2
    content, seconds = time.draw_timer(script, least, least + 3, words=1)
    start_ms = script.now_ms
    script.speak(ONCE.draw(script.rng, script.split, x=content, n=NUMBERS[seconds]))
    script.due(None, start_ms)
    end_ms = script.now_ms
    if result:
        script.pause(600.0, 1000.0)
        bring(script, number, result, talk_share=0.0)
    script.kind = "time"
    time.say_at(script, content, end_ms + 1000.0 * seconds, end_ms)
    script.wait_until(script.busy_until_ms)
    script.kind = DELEGATE


def _set_rule(script: Script, asked: Asked) -> tuple[str, str]:
    """A rule of ``cue`` whose words do not occur in a request that follows; returns cue and answer."""
    cue_word, reply = cue.draw_rule(script, dict.fromkeys(asked.text.split(), ""))
    start_ms = script.now_ms
    script.speak(CUE.draw(script.rng, script.split, x=reply, y=cue_word))
    script.due(None, start_ms)
    script.pause(400.0, 1200.0)
    return cue_word, reply


def _talk_with_cue(script: Script, cue_word: str, reply: str) -> None:
    """The user goes on talking, with the cue among his words."""
    words = loose_words(script.rng, int(script.rng.integers(3, 7)), avoid=(cue_word,))
    words.insert(int(script.rng.integers(len(words))), cue_word)
    start_ms = script.now_ms
    placed = script.speak(" ".join(words))
    script.due(None, start_ms)
    script.kind = "cue"
    cue.answer_cue(script, placed, cue_word, reply)
    script.wait_until(script.busy_until_ms)
    script.kind = DELEGATE
