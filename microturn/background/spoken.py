"""Text as it is said: numbers, dates, times, units, money and abbreviations in words, without markup.

What comes out has no digits and no signs but sentence marks, apostrophes and hyphens within words. Numbers are said as
``language.lexicon.number_words`` says them: "one hundred five".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from re import Match

from num2words import num2words

from microturn.language import lexicon

MAX_WHOLE_DIGITS = 15
"""Longer numbers are read digit by digit."""
MAX_SENTENCE_CHARACTERS = 1_000
"""What is longer is taken in parts: time grows with the square of a part's length."""
MAX_CODE_CHARACTERS = 20_000
MONTHS = tuple(month.capitalize() for month in lexicon.MONTHS)
UNITS = {
    "km/h": "kilometer per hour", "kph": "kilometer per hour", "mph": "mile per hour", "m/s": "meter per second",
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "mi": "mile", "ft": "foot", "yd": "yard",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "gal": "gallon",
    "s": "second", "ms": "millisecond", "min": "minute", "h": "hour", "hr": "hour", "hrs": "hour",
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "W": "watt", "kW": "kilowatt",
    "kWh": "kilowatt hour", "V": "volt", "A": "ampere", "J": "joule", "kJ": "kilojoule", "kcal": "kilocalorie",
    "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "px": "pixel",
    "°C": "degree Celsius", "°F": "degree Fahrenheit", "°": "degree", "%": "percent", "K": "kelvin",
}  # fmt: skip
MONEY = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", "")}
SAME_PLURAL = frozenset({"percent", "hertz", "kilohertz", "megahertz", "gigahertz", "kelvin", "yen"})
PLURALS = {"foot": "feet", "penny": "pence"}
ABBREVIATIONS = {
    "Dr.": "Doctor", "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Prof.": "Professor", "St.": "Saint",
    "e.g.": "for example", "i.e.": "that is", "etc.": "and so on", "vs.": "versus", "approx.": "about",
    "a.m.": "A M", "p.m.": "P M",
}  # fmt: skip
SYMBOLS = {
    "&": "and", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "*": "times", "@": "at", "/": "per",
    "±": "plus or minus", "≈": "about", "<": "less than", ">": "more than", "≤": "at most", "≥": "at least",
    "√": "square root of", "π": "pi", "−": "minus", "²": "squared", "³": "cubed", "#": "number", "°": "degrees",
}  # fmt: skip
AS_WORDS = frozenset({"NASA", "NATO", "UNESCO", "UNICEF", "JPEG", "OK", "AIDS", "COVID", "I", "A"})
"""Capitals that are read as a word."""
_MONTH = "|".join(f"{name}|{name[:3]}" for name in MONTHS)
_NUMBER = r"(?<!\d)(?:\d{1,3}(?:,\d{3})++(?:\.\d++)?|\d++(?:\.\d++)?)|(?<!\d)\.\d++"
"""Possessive: a long number is looked at once, not from each of its digits."""
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))


def cardinal(digits: str) -> str:
    """A number as written ("1,234.50", "007") in words."""
    whole, point, decimals = digits.replace(",", "").partition(".")
    if len(whole) > MAX_WHOLE_DIGITS or (len(whole) > 1 and whole.startswith("0")):
        words = _one_by_one(whole)
    else:
        words = _plain(num2words(int(whole or "0")))
    return f"{words} point {_one_by_one(decimals)}" if point else words


def ordinal(number: int) -> str:
    """3 -> "third"."""
    return _plain(num2words(number, to="ordinal"))


def year(number: int) -> str:
    """1984 -> "nineteen eighty four", 2007 -> "two thousand seven"."""
    return cardinal(str(number)) if 2000 <= number < 2010 else _plain(num2words(number, to="year"))


def spoken_date(day: date) -> str:
    """ "December twenty fifth twenty twenty six"."""
    return f"{MONTHS[day.month - 1]} {ordinal(day.day)} {year(day.year)}"


def _plain(words: str) -> str:
    return words.replace(",", "").replace(" and ", " ").replace("-", " ")


def _one_by_one(digits: str) -> str:
    return " ".join(lexicon.NUMBERS[int(digit)] for digit in digits)


def plural(name: str, one: bool) -> str:
    """The name of a unit after its number: "miles per hour", "feet", "degrees Celsius"."""
    if one or name in SAME_PLURAL:
        return name
    first, space, rest = name.partition(" ")
    if rest and not rest.startswith("per ") and first != "degree":
        return f"{first} {plural(rest, one)}"
    return PLURALS.get(first, f"{first}s") + space + rest


def _quantity(found: Match[str]) -> str:
    return f"{cardinal(found[1])} {plural(UNITS[found[2]], found[1] == '1')}"


def _money(found: Match[str]) -> str:
    large, small = MONEY[found[1]]
    whole, _, part = found[2].replace(",", "").partition(".")
    scale = found[3]
    if scale or len(part) not in (0, 2) or not small:
        return f"{cardinal(found[2])}{f' {scale}' if scale else ''} {plural(large, False)}"
    said = [f"{cardinal(whole)} {plural(large, whole == '1')}"] if whole.strip("0") or not part.strip("0") else []
    if part.strip("0"):
        said.append(f"{cardinal(str(int(part)))} {plural(small, part == '01')}")
    return " ".join(said)


def _iso_date(found: Match[str]) -> str:
    try:
        return spoken_date(date(int(found[1]), int(found[2]), int(found[3])))
    except ValueError:
        return found[0].replace("-", " ")


def _day_of_month(found: Match[str]) -> str:
    month = next(name for name in MONTHS if name.startswith(found[1][:3].capitalize()))
    return f"{month} {ordinal(int(found[2]))}" + (f" {year(int(found[3]))}" if found[3] else "")


def clock(hour: int, minute: int) -> str:
    """14, 5 -> "two oh five P M"."""
    said = cardinal(str((hour - 1) % 12 + 1))
    if minute:
        said += f" oh {cardinal(str(minute))}" if minute < 10 else f" {cardinal(str(minute))}"
    return f"{said} {'A M' if hour < 12 else 'P M'}"


def _time(found: Match[str]) -> str:
    if found[3]:
        return clock(int(found[1]) % 12 + 12 * (found[3].lower() == "p"), int(found[2] or 0))
    return clock(int(found[1]), int(found[2]))


def _fraction(found: Match[str]) -> str:
    top, bottom = int(found[1]), int(found[2])
    name = {2: "half", 4: "quarter"}.get(bottom) or (ordinal(bottom) if bottom else "")
    if not name or bottom == 1:
        return f"{cardinal(found[1])} over {cardinal(found[2])}"
    return f"{cardinal(found[1])} {name if top == 1 else 'halves' if bottom == 2 else name + 's'}"


def _capitals(found: Match[str]) -> str:
    return found[0] if found[0] in AS_WORDS else " ".join(found[0])


Rule = tuple[re.Pattern[str], str | Callable[[Match[str]], str]]
RULES: tuple[Rule, ...] = (
    (re.compile(r"```.*?(?:```|$)", re.S), " "),
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"<[^<>]{1,200}>"), " "),
    (re.compile(r"\b(?:https?://|www\.)\S+"), "a link"),
    (re.compile(r"(?m)^\s*(?:#{1,6}|[-*+])\s+"), ""),
    (re.compile(r"\*\*|__|`"), ""),
    (re.compile(r"(?<!\w)[*_](\w[^*_\n]*)[*_](?!\w)"), r"\1"),
    (re.compile(r"\b(?:" + "|".join(re.escape(one[:-1]) for one in ABBREVIATIONS) + r")\."),
     lambda m: ABBREVIATIONS[m[0]]),
    (re.compile(r"\bNo\. (?=\d)"), "number "),
    (re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b"), _iso_date),
    (re.compile(rf"(?i)\b({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?(?:,? (\d{{4}}))?\b"), _day_of_month),
    (re.compile(r"\b(1[0-2]|0?[1-9])(?::([0-5]\d))? ?([APap])\.?[Mm]\b\.?"), _time),
    (re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b()(?!:)"), _time),
    (re.compile(rf"([$€£¥])({_NUMBER})(?: (thousand|million|billion|trillion))?"), _money),
    (re.compile(r"(?i)\b((?:in|since|until|from|to|year|of) )(1[1-9]\d\d|20\d\d)\b(?![.,]\d)(?! ?[°%/])"),
     lambda m: m[1] + year(int(m[2]))),
    (re.compile(r"\b(\d{1,9})(?:st|nd|rd|th)\b"), lambda m: ordinal(int(m[1]))),
    (re.compile(r"(?<![\d/.])(\d{1,3})/(\d{1,3})(?![\d/.])"), _fraction),
    (re.compile(rf"({_NUMBER})(?: ?[-–] ?)(?=\d)"), r"\1 to "),
    (re.compile(rf"(?<![\w.])[-−](?={_NUMBER})"), "minus "),
    (re.compile(r"(?<=[A-Za-z])-(?=\d)"), " "),
    (re.compile(rf"({_NUMBER}) ?({_UNIT})(?!\w)"), _quantity),
    (re.compile(_NUMBER), lambda m: f" {cardinal(m[0])} "),
    (re.compile(r"\b[A-Z]{2,5}\b"), _capitals),
    (re.compile("|".join(re.escape(one) for one in SYMBOLS)), lambda m: f" {SYMBOLS[m[0]]} "),
    (re.compile(r"(?<!\w)-|-(?!\w)|[–—]"), ", "),
    (re.compile(r"[()\[\]{}|;:]"), ", "),
    (re.compile(r"[’‘]"), "'"),
    (re.compile(r"(?<!\w)'|'(?!\w)"), " "),
)  # fmt: skip
SENTENCE_END = re.compile(rf"(?<=[.!?]){''.join(f'(?<!{re.escape(one)})' for one in ABBREVIATIONS)}\s+(?=\S)|\n+")
PART = re.compile(rf"(?s).{{1,{MAX_SENTENCE_CHARACTERS}}}(?=\s|$)|.{{{MAX_SENTENCE_CHARACTERS}}}")
LEFT = re.compile(r"[^\w\s.,?!'-]|_")


def spoken(text: str) -> str:
    """``text`` in words. Digits of other scripts and signs without a name are left out."""
    if len(text) > MAX_SENTENCE_CHARACTERS:
        return " ".join(filter(None, map(spoken, PART.findall(text))))
    for pattern, put in RULES:
        text = pattern.sub(put, text)
    text = "".join(one for one in LEFT.sub(" ", text) if not one.isnumeric() or one.isalpha())
    text = " ".join(text.split())
    text = re.sub(r"\s+([.,?!])", r"\1", text)
    text = re.sub(r",(?:\s*,)+", ",", text)
    text = re.sub(r"([.?!])[.,]+", r"\1", text)
    return re.sub(r"^[,\s]+|,(?=[.?!])|[,\s]+$", "", text)


def number_text(value: Fraction | float, significant: int = 6) -> str:
    """A number in digits as short as a person would give it: whole ones exactly, others rounded, and "about" if so."""
    if isinstance(value, Fraction) and value.denominator == 1 and abs(value) < 10**MAX_WHOLE_DIGITS:
        return str(value.numerator)
    # Decimal has no largest number, as float has.
    exact = Decimal(value.numerator) / value.denominator if isinstance(value, Fraction) else Decimal(value)
    rounded = Decimal(f"{exact:.{significant}g}").normalize()
    about = "about " if abs(exact - rounded) > abs(exact) * Decimal("1e-12") else ""
    if -5 <= rounded.adjusted() < MAX_WHOLE_DIGITS:
        return f"{about}{rounded:f}"
    mantissa, exponent = rounded.scaleb(-rounded.adjusted()), rounded.adjusted()
    return f"{about}{mantissa:f} times 10 to the power of {exponent}"


class Sentences:
    """Cuts text that comes in fragments into sentences, so that no number is said before it is complete."""

    def __init__(self) -> None:
        self._rest = ""

    def push(self, fragment: str) -> list[str]:
        """The sentences that are complete now."""
        self._rest += fragment
        if self._rest.count("```") % 2 and len(self._rest) < MAX_CODE_CHARACTERS:
            return []  # A block of code is left out as a whole.
        *done, self._rest = SENTENCE_END.split(re.sub(r"```.*?```", " ", self._rest, flags=re.S))
        if len(self._rest) > MAX_SENTENCE_CHARACTERS:
            done, self._rest = [*done, self._rest], ""
        return [one for one in done if one.strip()]

    def flush(self) -> list[str]:
        rest, self._rest = self._rest, ""
        return [rest] if rest.strip() else []
