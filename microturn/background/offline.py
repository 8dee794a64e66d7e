"""The agent without a language model: a small grammar of requests over the same tools.

What it does not understand it says so; it never guesses.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from re import Match

from microturn.background.calculate import digits
from microturn.background.job import Corrections
from microturn.background.package import ContextPackage
from microturn.background.results import Card, Markdown, Result, Spoken, Table
from microturn.background.spoken import spoken
from microturn.background.timers import DURATION, Timers, moved
from microturn.background.tools import DAY_NUMBERS, HOLIDAYS, MONTH_NUMBERS, STEPS, Tools, is_unit, moved_day
from microturn.errors import InputError

CANNOT = (
    "I cannot do that without a language model. I can calculate, convert units, work out dates and times, set timers,"
    " look up words, and search your notes."
)
POLITE = re.compile(
    r"^(?:(?:hey|okay|so|and|please|can you|could you|would you|will you|i want to know|i would like to know|tell me"
    r"|do you know)[ ,]+)+|[ ,]+please$"
)
NUMBER = r"(?:minus |-)?\d+(?:\.\d+)?"
STEP = rf"({'|'.join(STEPS)})s?"
CLOCK_STEPS = ("hour", "minute", "second")
NAMED_DAY = "|".join(sorted([*DAY_NUMBERS, *HOLIDAYS, "today", "tomorrow", "yesterday"], key=len, reverse=True))
MONTH_DAY = rf"(?:{'|'.join(MONTH_NUMBERS)}) \d{{1,2}}(?:st|nd|rd|th)?"
CHANGE = re.compile(
    r"^(?:(?:no|oh|sorry|wait|actually|please)[ ,]+)*"
    r"(?:(?:make|change) (?:that|it)(?: to)?|i meant?|rather|instead|no|not|actually) (.+?)(?: instead| please)?$"
)


@dataclass(frozen=True)
class Answer:
    """What is said, and what is shown with it."""

    text: str
    card: Card | None = None


class OfflineAgent:
    """Answers what the grammar knows."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._rules: tuple[tuple[re.Pattern[str], Callable[[Match[str]], Answer]], ...] = tuple(
            (re.compile(pattern), rule)
            for pattern, rule in (
                (rf"(?:convert |what is |what's |how much is )?({NUMBER}|an?) (.+?) (?:in|to|into) (.+)",
                 self._convert),
                (rf"how (?:many|much) (.+?) (?:are|is)(?: there)? in ({NUMBER}|an?) (.+)", self._convert_how_many),
                (r"what(?: is|'s) (?:today's date|the date|the day|today)(?: today)?|what (?:day|date) is (?:it|today)"
                 r"(?: today)?", self._today),
                (r"what(?: is|'s) the time(?: now)?|what time is it(?: now)?", self._time),
                (rf"what (?:day|date|time)(?: of the week)? (?:is it|is|was it|was|will it be|will be) (?:in )?"
                 rf"({NUMBER}|an?) {STEP}(?: (from now|from today|from|after|before|ago)(?: (.+))?)?", self._later),
                (r"how (?:many days|long)(?: is it| are there| is there)? (?:until|till|to|before) (.+)", self._until),
                (r"how (?:many days|long)(?: is it| are there| has it been)? since (.+)", self._since),
                (r"how (?:many days|long)(?: is it| are there| is)? (?:between|from) (.+?) (?:and|to|until) (.+)",
                 self._between),
                (r"(?:what (?:day|date)(?: of the week)? (?:is|was|will be)|when is|when was) (.+)", self._weekday),
                (r"(?:define|what does|what's the (?:meaning|definition) of|what is the (?:meaning|definition) of"
                 r"|look up)(?: the word)? (.+?)(?: mean| in the dictionary)?", self._define),
                (r"(?:search|look through)(?: in)? my (?:notes|documents|files)(?: for| about) (.+)", self._search),
                (r"(?:find|look for|look up|search for|is there) (.+) in my (?:notes|documents|files)", self._search),
                (r"what do my (?:notes|documents|files) say (?:about|on) (.+)", self._search),
                (r"(?:calculate|compute|work out|evaluate|what is|what's|how much is)? ?(.+)", self._calculate),
            )
        )  # fmt: skip

    async def work(self, package: ContextPackage, corrections: Corrections) -> AsyncGenerator[Result]:
        """One answer; if a correction has come meanwhile, the answer to the corrected request."""
        timers = Timers(package.at_ms, package.timers, now=self._tools.now, ends_ms=package.ends_ms)
        task, outdated = "", None
        for one in package.jobs:
            earlier = request(one.task)
            task = (corrected(task, earlier) if CHANGE.match(earlier) else None) or earlier
        asked, changes = request(package.task), [request(one) for one in corrections.take()]
        if CHANGE.match(asked):
            changes.insert(0, asked)
            outdated = timers.set_by(task)
        else:
            task = asked
        for change in changes:
            changed = corrected(task, change)
            if changed is None:
                yield Spoken(spoken(f"I do not know what to change to {change}"))
                return
            task = changed
        answer = self.answer(task, timers)
        if outdated is not None and timers.changes:
            timers.drop(outdated)
        yield Spoken(spoken(answer.text))
        if answer.card is not None:
            yield answer.card
        for one_change in timers.changes:
            yield one_change

    def answer(self, text: str, timers: Timers) -> Answer:
        """The answer to a request; why there is none, if there is none."""
        text = request(text)
        try:
            if (said := timers.answer(text)) is not None:
                return Answer(said)
            for pattern, rule in self._rules:
                if found := pattern.fullmatch(text):
                    return rule(found)
        except InputError as error:
            return Answer(f"I cannot do that: {error}.")
        return Answer(CANNOT)

    def _convert(self, found: Match[str], how_many: bool = False) -> Answer:
        amount, start, end = (found[2], found[3], found[1]) if how_many else (found[1], found[2], found[3])
        number = {"a": "1", "an": "1"}.get(amount, amount)
        return Answer(f"{amount} {start} is {self._tools.convert_units(number, start, end)}.")

    def _convert_how_many(self, found: Match[str]) -> Answer:
        return self._convert(found, how_many=True)

    def _today(self, found: Match[str]) -> Answer:
        return Answer(f"Today is {self._tools.current_date_and_time().rpartition(',')[0]}.")

    def _time(self, found: Match[str]) -> Answer:
        return Answer(f"It is {self._tools.now():%H:%M}.")

    def _later(self, found: Match[str]) -> Answer:
        amount = float({"a": "1", "an": "1"}.get(found[1], found[1].replace("minus ", "-")))
        if not amount.is_integer():
            raise InputError(f"{found[1]} {found[2]}s is not a whole number of {found[2]}s")
        back = found[3] in ("before", "ago")
        step, day = found[2], found[4] or "today"
        if step in CLOCK_STEPS and day != "today":
            raise InputError("I count hours from now only")
        said = self._tools.add_to_date(day, int(-amount if back else amount), step)
        return Answer(f"It {'was' if found[3] == 'ago' else 'will be' if day == 'today' else 'is'} {said}.")

    def _until(self, found: Match[str]) -> Answer:
        return self._days(self._tools.days_between("today", found[1]), f"until {found[1]}")

    def _since(self, found: Match[str]) -> Answer:
        day, today = self._tools.day(found[1]), self._tools.day("today")
        if day > today and not re.search(r"\d{4}", found[1]):
            day = moved_day(day, -7, "day") if found[1] in DAY_NUMBERS else moved_day(day, -1, "year")
        return self._days((today - day).days, f"since {found[1]}")

    def _between(self, found: Match[str]) -> Answer:
        return self._days(abs(self._tools.days_between(found[1], found[2])), f"between {found[1]} and {found[2]}")

    def _days(self, days: int, what: str) -> Answer:
        if days < 0:
            raise InputError(f"that day is {-days} days away on the other side")
        return Answer(f"It is {days} day{'' if days == 1 else 's'} {what}.")

    def _weekday(self, found: Match[str]) -> Answer:
        day = self._tools.day(found[1])
        be = "is" if day >= self._tools.day("today") else "was"
        return Answer(f"{found[1]} {be} {day:%A}, {day.isoformat()}.")

    def _define(self, found: Match[str]) -> Answer:
        word = found[1].strip(" '\"")
        meanings = self._tools.define_word(word)
        shown = "\n".join(f"{n}. *{one.part_of_speech}* {one.text}" for n, one in enumerate(meanings, 1))
        first = re.split(r"; |\. | --", meanings[0].text)[0].rstrip(".")
        return Answer(f"{word}: {first}.", Markdown(word, shown))

    def _search(self, found: Match[str]) -> Answer:
        hits = self._tools.search_notes(found[1])
        if not hits:
            return Answer(f"I find nothing about {found[1]} in your notes.")
        table = Table(
            f"Notes: {found[1]}", ("file", "line", "text"), tuple((one.file, str(one.line), one.text) for one in hits)
        )
        best = " ".join(hits[0].text.split())
        cut = best if len(best) <= 200 else best[:200].rpartition(" ")[0] + ", and more"
        more = "" if len(hits) == 1 else f" I found {len(hits)} places; the others are on the card."
        return Answer(f"Your note {hits[0].file.rpartition('.')[0]} says: {cut}.{more}", table)

    def _calculate(self, found: Match[str]) -> Answer:
        if not re.search(r"\d|\bpi\b", found[1]):
            return Answer(CANNOT)
        try:
            return Answer(f"The answer is {self._tools.calculate(found[1])}.")
        except InputError as error:
            # Words among the numbers: a request of another kind, not a wrong sum.
            return Answer(CANNOT if "is no expression" in str(error) else f"I cannot do that: {error}.")


def request(text: str) -> str:
    """A request as the grammar reads it: lower case, number words as digits, no politeness."""
    text = " ".join(text.lower().replace("’", "'").split()).strip(" .?!,")
    return digits(POLITE.sub("", POLITE.sub("", text)))


def corrected(task: str, change: str) -> str | None:
    """``task`` with what ``change`` ("make that tuesday", "7", "in meters") puts right; None if it fits nothing."""
    found = CHANGE.match(change)
    new = (found[1] if found else change).strip()
    if (later := moved(task, new)) is not None:
        return later
    for kind in (MONTH_DAY, NAMED_DAY, DURATION, NUMBER):
        if re.fullmatch(kind, new):
            places = list(re.finditer(rf"\b(?:{kind})\b", task))
            return task[: places[-1].start()] + new + task[places[-1].end() :] if places else None
    unit = new.removeprefix("in ").removeprefix("to ")
    if (place := re.search(r"\b(in|to|into) (\D+)$", task)) and is_unit(place[2]) and is_unit(unit):
        return task[: place.start(2)] + unit
    return None
