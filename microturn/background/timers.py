"""Timers: what a job may set and cancel, and the requests for it that are understood without a language model.

A timer is no work. A job brings it as a result and the session, which has the clock, says its text when it is due.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from microturn.background.package import MAX_LABEL_CHARACTERS, MAX_OPEN, OpenTimer
from microturn.background.results import Result, Timer, TimerCancelled
from microturn.background.spoken import spoken
from microturn.errors import InputError

MAX_TIMER_SECONDS = 24 * 3600
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
)


class Timers:
    """The timers of a session as a job finds and changes them; ``changes`` is what the job then brings."""

    def __init__(self, at_ms: int = 0, running: Sequence[OpenTimer] = (), changes: deque[Result] | None = None) -> None:
        """``at_ms``: when the job was asked for; timers count from there."""
        self._at_ms = at_ms
        self._running = list(running)
        self.changes: deque[Result] = deque() if changes is None else changes

    def set_timer(self, label: str, seconds: float) -> str:
        """Set a timer that is said aloud to the user when it is due, so many seconds after he asked. The label says
        what to remind him of ("call Anna"); "" for a plain timer."""
        if not 1 <= seconds <= MAX_TIMER_SECONDS:
            raise InputError("a timer runs for one second at least and for 24 hours at most")
        if len(self._running) >= MAX_OPEN:
            raise InputError(f"{MAX_OPEN} timers are running already")
        label, lasts = " ".join(label.split())[:MAX_LABEL_CHARACTERS], duration_text(seconds)
        over = f"{lasts[2:]} is" if re.fullmatch(r"1 \w+", lasts) else f"{lasts} are"
        text = spoken(f"A reminder: {label}." if label else f"Your {over} over.")
        timer = Timer(label or lasts, self._at_ms + round(seconds * 1000), text)
        self._running.append(OpenTimer(timer.label, timer.due_ms))
        self.changes.append(timer)
        return f"I will remind you in {lasts}: {label}." if label else f"Timer set for {lasts}."

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
        wanted = duration_text(seconds_of(label)) if re.fullmatch(DURATION, label) else label.lower()
        words = re.compile(rf"\b{re.escape(wanted)}\b" if wanted else "")
        found = [one for one in self._running if words.search(one.label.lower())]
        if not found:
            raise InputError(f"there is no timer {label}" if label and self._running else "no timer is running")
        return [one for one in found if one.label.lower() == wanted] or found

    def listed(self, label: str) -> str:
        """What is left of them, in a sentence."""
        if not self._running:
            return "No timer is running."
        found = self.named(label)
        left = [f"{one.label} with {self._left(one)} left" for one in found]
        return f"{f'{len(left)} timers are' if len(left) > 1 else 'One timer is'} running: {'; '.join(left)}."

    def _left(self, timer: OpenTimer) -> str:
        seconds = (timer.due_ms - self._at_ms) / 1000
        return duration_text(seconds if seconds < 3600 else round(seconds / 60) * 60)

    def set_by(self, asked: str) -> OpenTimer | None:
        """What a request has set, if it was about a timer and that still runs; of several alike, the one due last."""
        request = _set_request(asked)
        label = "" if request is None else request[0] or duration_text(request[1])
        return next((one for one in reversed(self._running) if label and one.label == label), None)

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
        request = _set_request(asked)
        return None if request is None else self.set_timer(*request)


def _set_request(asked: str) -> tuple[str, float] | None:
    found = next(filter(None, (pattern.fullmatch(asked) for pattern in SETS)), None)
    return None if found is None else (_label(found), seconds_of(found["lasts"]))


def _label(found: re.Match[str]) -> str:
    groups = found.groupdict()
    return groups.get("label") or groups.get("more") or ""


def seconds_of(duration: str) -> float:
    """ "an hour and a half" -> 5400.0"""
    seconds = 0.0
    for words in re.findall(AMOUNT, duration):
        number = re.match(r"[\d.]+", words)
        count = float(number[0]) if number else 0.5 if re.match(r"(?:a )?half", words) else 1.0
        count = count / 4 if " quarter" in words else count + 0.5 * (" and a half" in words)
        seconds += count * next(value for step, value in STEP_SECONDS.items() if f" {step}" in words)
    return seconds


def duration_text(seconds: float) -> str:
    """5400 -> "1 hour and 30 minutes"."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for step in ("hour", "minute", "second"):
        count, rest = divmod(rest, STEP_SECONDS[step])
        if count or (step == "second" and not parts):
            parts.append(f"{count} {step}{'' if count == 1 else 's'}")
    return " and ".join(parts)
