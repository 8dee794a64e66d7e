"""Timers: what a job may set and cancel, and the requests for it that are understood without a language model.

A timer is no work. A job brings it as a result and the session, which has the clock, says its text when it is due.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from microturn.background.package import MAX_LABEL_CHARACTERS, MAX_OPEN, OpenTimer
from microturn.background.results import MIN_EVERY_MS, Result, Timer, TimerCancelled
from microturn.background.spoken import spoken
from microturn.errors import InputError

MAX_TIMER_SECONDS = 24 * 3600
SAY_MS = 5_000
"""What is due so shortly before the end of a conversation can still be said."""
STEP_SECONDS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_COUNT = r"(?:an?|\d+(?:\.\d+)?)"
_STEP = rf"(?:{'|'.join(STEP_SECONDS)})s?"
AMOUNT = (
    rf"(?:(?:{_COUNT} quarters? of an?|(?:a )?half(?: an?)?|{_COUNT}(?: and a half)?) {_STEP}"
    rf"(?: and a half(?!(?: an?)? {_STEP}))?)"
)
DURATION = rf"{AMOUNT}(?:(?:,| and|, and)? {AMOUNT})*"
_WHAT = r"(?:timer|alarm|reminder)"
_ABOUT = r"(?:for|to|of|about|that|called|named)"
_LABEL = r"(?P<label>\S+(?: \S+){0,3}?)"
_VERB = r"(?:set|start|create|make|give|i need)(?: me)?(?: an?| the| my| another)?"
_START = rf"(?:{_VERB} (?:{_LABEL} )??|an? |another )?"
_REMIND = r"(?:remind me|wake me(?: up)?|let me know|alert me|call me)"
_LASTS = rf"(?P<lasts>{DURATION})(?: from now)?"
_PERIOD = rf"(?P<every>{DURATION}|(?:quarter of an )?{_STEP})"
_EVERY = rf"every {_PERIOD}"
_TIME = (
    r"(?P<time>(?:(?P<part>half(?= past)|(?:a )?quarter|[1-5]?\d)(?: minutes?)? (?P<side>past|after|to|before|till) )?"
    r"(?P<hour>2[0-3]|1\d|0?\d|noon|midday|midnight)(?:(?:[:. ](?=\d\d)| oh? | 0 )(?P<minute>[0-5]?\d))?"
    r"(?: ?o'? ?clock)?)"
)
_PART_OF_DAY = r"(?:morning|afternoon|evening|night)"
_DAY = rf"(?:today|tonight|tomorrow(?: {_PART_OF_DAY})?|(?:this|in the|at) {_PART_OF_DAY})"
_WHEN = rf"(?P<when>(?:{_DAY} (?:at )?)?{_TIME}(?: [ap]\.? ?m\.?)?(?: {_DAY}){{0,2}})"
_AT = rf"(?:at |(?!\d)){_WHEN}"
NAMED = re.compile(rf"(?P<lasts>{DURATION})|{_WHEN}")
"""Words that name a timer by its time."""
_ANY = r"(?: open| running| set| left| on| there)*"
SETS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_START}{_WHAT} (?:for|of|in|to) {_LASTS}(?: {_ABOUT} (?P<more>.+))?",
        rf"(?:{_VERB} |an? |another )?{_LASTS} (?:{_LABEL} )?{_WHAT}(?: {_ABOUT} (?P<more>.+))?",
        rf"{_START}{_WHAT} {_ABOUT} (?P<more>.+?) (?:for|in) {_LASTS}",
        rf"{_REMIND} (?:in|after) {_LASTS}(?: {_ABOUT} (?P<label>.+))?",
        rf"remind me {_ABOUT} (?P<label>.+?) in {_LASTS}",
        rf"in {_LASTS} {_REMIND}(?: {_ABOUT} (?P<label>.+))?",
    )
)
REPEATS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_REMIND} {_EVERY}(?: {_ABOUT} (?P<label>.+))?",
        rf"{_REMIND} {_ABOUT} (?P<label>.+?) {_EVERY}",
        rf"{_EVERY} (?:(?:{_REMIND}|tell me)(?: {_ABOUT} (?P<label>.+))?|{_ABOUT} (?P<more>.+)|say (?P<say>.+))",
        rf"say (?P<say>.+?) {_EVERY}",
        rf"{_VERB} (?:repeating|recurring) {_WHAT} (?:for|of|every) {_PERIOD}(?: {_ABOUT} (?P<more>.+))?",
        rf"{_START}{_WHAT} (?:for )?{_EVERY}(?: {_ABOUT} (?P<more>.+))?",
        rf"{_START}{_WHAT} {_ABOUT} (?P<more>.+?) {_EVERY}",
    )
)
MOMENTS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_START}(?!timer (?:for|to) \d+(?: to |$)){_WHAT} (?:for|at|to) {_WHEN}(?: {_ABOUT} (?P<more>.+))?",
        rf"(?:{_VERB} |an? |another )?{_WHEN} (?:alarm|reminder)(?: {_ABOUT} (?P<more>.+))?",
        rf"{_START}{_WHAT} {_ABOUT} (?P<more>.+?) (?:for|at) {_WHEN}",
        rf"{_REMIND} {_AT}(?: {_ABOUT} (?P<label>.+))?",
        rf"{_REMIND} {_ABOUT} (?P<label>.+?) {_AT}",
        rf"{_AT} {_REMIND}(?: {_ABOUT} (?P<label>.+))?",
    )
)
LISTS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:what|which|how many)(?: are)?(?: the| my)?{_ANY} {_WHAT}s?(?: are| is| do i have| have i)?{_ANY}",
        rf"(?:do i have|are there|is there)(?: any| an?)?{_ANY} {_WHAT}s?{_ANY}",
        rf"(?:list|show)(?: me)?(?: all)?(?: of)?(?: the| my)? {_WHAT}s",
        rf"how (?:long|much time|much longer) (?:is|do i have|does|until|till|before){_ANY}(?: until| till)?"
        rf"(?: the| my)?(?: {_LABEL})?? {_WHAT}s?(?: left| still| have| is over| is up| rings| goes off)*",
        r"how much time (?:is|do i have) left",
    )
)
CANCELS = re.compile(
    rf"(?:cancel|stop|delete|remove|clear|end|turn off)(?P<all> all| both)?(?: of)?(?: the| my| this| that| these)?"
    rf"(?: {_LABEL})?? {_WHAT}(?P<many>s)?(?: {_ABOUT} (?P<more>.+))?"
    rf"|stop (?:(?:reminding|waking|alerting|telling) me(?: {_ABOUT} (?P<reminds>.+?))?|saying (?P<says>.+?))"
    rf"(?: every {DURATION}| any ?more| now)?"
)


class Timers:
    """The timers of a session as a job finds and changes them; ``changes`` is what the job then brings."""

    def __init__(
        self,
        at_ms: int = 0,
        running: Sequence[OpenTimer] = (),
        changes: deque[Result] | None = None,
        *,
        now: Callable[[], datetime] = datetime.now,
        ends_ms: int | None = None,
    ) -> None:
        """``at_ms``: when the job was asked for, which is ``now`` where the user is; timers count from there.
        ``ends_ms``: when the conversation is over at the latest."""
        self._at_ms, self._asked_at, self._ends_ms = at_ms, now(), ends_ms
        self._running = list(running)
        self.changes: deque[Result] = deque() if changes is None else changes

    def set_timer(self, label: str, seconds: float, repeat: bool = False) -> str:
        """Set a timer that is said aloud to the user when it is due, so many seconds after he asked; with repeat again
        and again, every so many seconds, until it is cancelled. The label says what to remind him of ("call Anna"); ""
        for a plain timer."""
        return self._set(label, seconds, repeat, "A reminder: ")

    def set_alarm(self, label: str, time: str) -> str:
        """Set a timer for a time of day where the user is: the next "HH:MM" of the 24-hour clock. The label says what
        to remind him of ("call Anna"); "" for a plain alarm."""
        if not re.fullmatch(r"(?:[01]?\d|2[0-3]):[0-5]\d", time):
            raise InputError(f"{time!r} is no time of day, HH:MM")
        hour, minute = map(int, time.split(":"))
        return self._set_for(label, _next_moment([hour * 60 + minute], time, self._asked_at))

    def _set(self, label: str, seconds: float, repeat: bool, before: str) -> str:
        """``before``: what is said before the label."""
        if repeat and seconds * 1000 < MIN_EVERY_MS:
            raise InputError(f"I repeat nothing more often than every {MIN_EVERY_MS // 1000} seconds")
        self._check(seconds)
        lasts, plain = duration_text(seconds), _plain_text(seconds)
        over = f"{'Another' if repeat else 'Your'} {plain} {'are' if plain == lasts else 'is'} over."
        label = self._add(label, f"every {plain}" if repeat else lasts, seconds, before, over, repeat)
        if repeat:
            return f"I will remind you every {plain}{f': {label}' if label else ''}."
        return f"I will remind you in {lasts}: {label}." if label else f"Timer set for {lasts}."

    def _set_for(self, label: str, moment: datetime) -> str:
        seconds = moment.timestamp() - self._asked_at.timestamp()
        self._check(seconds)
        time = f"{moment:%H:%M}"
        label = self._add(label, time, seconds, "A reminder: ", f"It is {time}.")
        when = time if moment.date() == self._asked_at.date() else f"{time} tomorrow"
        return f"I will remind you at {when}, {label}." if label else f"Alarm set for {when}."

    def _check(self, seconds: float) -> None:
        if not 1 <= seconds <= MAX_TIMER_SECONDS:
            raise InputError("a timer runs for one second at least and for 24 hours at most")
        if self._ends_ms is not None and self._at_ms + seconds * 1000 > self._ends_ms - SAY_MS:
            raise InputError(f"this conversation ends before that, in {self._until(self._ends_ms)}")
        if len(self._running) >= MAX_OPEN:
            raise InputError(f"{MAX_OPEN} timers are running already")

    def _add(self, label: str, without: str, seconds: float, before: str, over: str, repeat: bool = False) -> str:
        """Add one, which is called ``without`` and says that it is ``over`` if it has no label; returns the label."""
        label = " ".join(label.split())[:MAX_LABEL_CHARACTERS]
        wait_ms = round(seconds * 1000)
        timer = Timer(
            label or without,
            self._at_ms + wait_ms,
            spoken(f"{before}{label}." if label else over),
            wait_ms if repeat else None,
        )
        self._running.append(OpenTimer(timer.label, timer.due_ms, timer.every_ms))
        self.changes.append(timer)
        return label

    def cancel_timer(self, label: str) -> str:
        """Cancel the running timers of this label; all of them if it is ""."""
        found = self.named(label)
        for one in found:
            self.drop(one)
        many = "Timer" if len(found) == 1 else f"{len(found)} timers"
        return f"{many} cancelled: {', '.join(one.label for one in found)}."

    def drop(self, timer: OpenTimer) -> None:
        """Have one cancelled."""
        self._running.remove(timer)
        self.changes.append(TimerCancelled(timer.label, timer.due_ms))

    def named(self, label: str) -> list[OpenTimer]:
        """Those whose label is or has these words. Raises ``InputError`` if there are none."""
        named = NAMED.fullmatch(label)
        wanted = [label.lower(), *(_names(named) if named else ())]
        words = re.compile("|".join(rf"\b{re.escape(one)}\b" for one in wanted) if label else "")
        found = [one for one in self._running if words.search(one.label.lower())]
        if not found:
            raise InputError(f"there is no timer {label}" if label and self._running else "no timer is running")
        exact = [one for one in found if one.label.lower() == wanted[0]]
        return exact or [one for one in found if one.label.lower() in wanted] or found

    def listed(self, label: str) -> str:
        """What is left of them, in a sentence."""
        if not self._running:
            return "No timer is running."
        found = self.named(label)
        left = [f"{one.label} with {self._until(one.due_ms)} left" for one in found]
        return f"{f'{len(left)} timers are' if len(left) > 1 else 'One timer is'} running: {'; '.join(left)}."

    def _until(self, due_ms: int) -> str:
        seconds = (due_ms - self._at_ms) / 1000
        return duration_text(seconds if seconds < 3600 else round(seconds / 60) * 60)

    def set_by(self, asked: str) -> OpenTimer | None:
        """What a request has set, if it was about a timer and that still runs; of several alike, the one due last."""
        found = _setting(asked)
        names = [] if found is None else [_label(found)] if _label(found) else _names(found)
        return next((one for one in reversed(self._running) if one.label in names), None)

    def answer(self, asked: str) -> str | None:
        """What is said to a request, which is done then; ``None`` if it is about no timer. Raises ``InputError``."""
        for pattern in LISTS:
            if found := pattern.fullmatch(asked):
                return self.listed(_label(found))
        if found := CANCELS.fullmatch(asked):
            running = self.named(_label(found))
            if len(running) > 1 and not (found["all"] or found["many"]):
                raise InputError(f"there are {len(running)} of them: {', '.join(one.label for one in running)}")
            return self.cancel_timer(_label(found))
        found = _setting(asked)
        if found is None:
            return None
        groups = found.groupdict()
        if "when" in groups:
            return self._set_for(_label(found), _next_moment(_minutes(found), found["when"], self._asked_at))
        return self._set(_label(found), _seconds(found), "every" in groups, "" if groups.get("say") else "A reminder: ")


def moved(asked: str, new: str) -> str | None:
    """A request for a timer with the time ``new`` in place of its own; ``None`` if these are of different kinds."""
    found, time = _setting(asked), NAMED.fullmatch(new)
    if found is None or time is None:
        return None
    groups = found.groupdict()
    # "seven" leaves it tomorrow morning.
    places = ("every", "lasts") if time["lasts"] else ("time" if time["time"] == new else "when",)
    place = next((one for one in places if one in groups), None)
    return None if place is None else asked[: found.start(place)] + new + asked[found.end(place) :]


def _setting(asked: str) -> re.Match[str] | None:
    """What is asked for, if it is a timer."""
    return next(filter(None, (pattern.fullmatch(asked) for pattern in (*REPEATS, *SETS, *MOMENTS))), None)


def _label(found: re.Match[str]) -> str:
    groups = found.groupdict()
    return next(filter(None, map(groups.get, ("label", "more", "say", "reminds", "says"))), "")


def _names(found: re.Match[str]) -> list[str]:
    """What a timer that was asked for without a label may be called."""
    groups = found.groupdict()
    if groups.get("when"):
        return [f"{minutes // 60:02}:{minutes % 60:02}" for minutes in _minutes(found)]
    return [f"every {_plain_text(_seconds(found))}" if groups.get("every") else duration_text(_seconds(found))]


def _seconds(found: re.Match[str]) -> float:
    every = found.groupdict().get("every")
    return seconds_of(f"a {every}" if every else found["lasts"])


def _minutes(found: re.Match[str]) -> list[int]:
    """The minutes of the day that a time may mean: "half past 6" is 6:30 and 18:30."""
    hour = {"noon": 12, "midday": 12, "midnight": 0}.get(found["hour"])
    is_exact = hour is not None or found["hour"].startswith("0") or int(found["hour"]) > 12
    part = found["part"] or "0"
    past = 30 if part == "half" else 15 if part.endswith("quarter") else int(part)
    past = int(found["minute"] or 0) + (-past if found["side"] in ("to", "before", "till") else past)
    minutes = ((int(found["hour"]) if hour is None else hour) * 60 + past) % (24 * 60)
    if is_exact:
        return [minutes]
    early, late = minutes % (12 * 60), minutes % (12 * 60) + 12 * 60
    if re.search(r"\bp\.? ?m\b|afternoon|evening", found["when"]):
        return [late]
    if re.search(r"\ba\.? ?m\b|morning", found["when"]):
        return [early]
    if "night" in found["when"].replace("midnight", ""):
        return [early if early < 5 * 60 else late]
    return [early, late]


def _next_moment(minutes: Sequence[int], words: str, now: datetime) -> datetime:
    """The first of these minutes of a day that is yet to come, of the day that ``words`` name if they do."""
    days = (1,) if "tomorrow" in words else (0,) if re.search(r"\b(?:today|this)\b", words) else (0, 1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    moments = sorted(midnight + timedelta(days=day, minutes=one) for day in days for one in minutes)
    # Clocks may be changed on the way.
    coming = [one for one in moments if one.timestamp() - now.timestamp() >= 1]
    if not coming:
        raise InputError(f"it is past {words} already")
    return coming[0]


def seconds_of(duration: str) -> float:
    """ "an hour and a half" -> 5400.0"""
    seconds = 0.0
    for words in re.findall(AMOUNT, duration):
        number = re.match(r"[\d.]+", words)
        count = float(number[0]) if number else 0.5 if re.match(r"(?:a )?half", words) else 1.0
        count = count / 4 if " quarter" in words else count + 0.5 * (" and a half" in words)
        seconds += count * next(value for step, value in STEP_SECONDS.items() if f" {step}" in words)
    return seconds


def _plain_text(seconds: float) -> str:
    """As after "every": "minute", "2 minutes"."""
    return re.sub(r"^1 (?=\w+$)", "", duration_text(seconds))


def duration_text(seconds: float) -> str:
    """5400 -> "1 hour and 30 minutes"."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for step in ("hour", "minute", "second"):
        count, rest = divmod(rest, STEP_SECONDS[step])
        if count or (step == "second" and not parts):
            parts.append(f"{count} {step}{'' if count == 1 else 's'}")
    return " and ".join(parts)
