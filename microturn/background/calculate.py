"""A calculator with a grammar of its own: exact fractions as far as they go, and nothing that takes long.

    sum     := product (("+" | "-") product)*
    product := unary (("*" | "/" | "mod" | "%" of) unary)*
    unary   := "-" unary | power
    power   := postfix ("^" unary)?
    postfix := atom ("!" | "%")*
    atom    := number | "pi" | "e" | function atom | "(" sum ")"

The same in words: "twelve point five times seven", "the square root of two hundred", "15 percent of 80".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from microturn.errors import InputError
from microturn.language.lexicon import NUMBERS

MAX_CHARACTERS = 300
MAX_BITS = 4_096
"""Of a numerator or denominator; beyond it a result is an error, not a wait."""
MAX_DEPTH = 50
MAX_FACTORIAL = 300

Number = Fraction | float
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt, "cbrt": math.cbrt, "sin": lambda x: math.sin(math.radians(x)),
    "cos": lambda x: math.cos(math.radians(x)), "tan": lambda x: math.tan(math.radians(x)),
    "ln": math.log, "log": math.log10, "exp": math.exp, "abs": abs,
}  # fmt: skip
"""Angles are in degrees."""
CONSTANTS = {"pi": math.pi, "e": math.e}
TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|([a-z]+)|(.))")
ONES = {word: value for value, word in enumerate(NUMBERS[:20])}
TENS = {NUMBERS[18 + value]: 10 * value for value in range(2, 10)}
SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000, "trillion": 1_000_000_000_000}
PHRASES = (
    (r"(?:the )?square root of", "sqrt"), (r"(?:the )?cube root of", "cbrt"), (r"(?:the )?sine of", "sin"),
    (r"(?:the )?cosine of", "cos"), (r"(?:the )?tangent of", "tan"), (r"(?:the )?natural log(?:arithm)? of", "ln"),
    (r"(?:the )?log(?:arithm)? of", "log"),
    (r"(?:the )?factorial of ([\d.]+)", r"\1!"), (r"factorial", "!"),
    (r"to the power of|raised to(?: the power of)?|\*\*", "^"), (r"squared|²", "^2"), (r"cubed|³", "^3"),
    (r"multiplied by|times|×|·", "*"), (r"divided by|over|÷", "/"), (r"plus|added to|and", "+"),
    (r"minus|−|–", "-"), (r"modulo", "mod"), (r"percent|per cent", "%"), (r"% *of", "% *"),
    (r"(?:a |one )?half of", "0.5 *"), (r"(?:a |one )?third of", "1/3 *"), (r"(?:a |one )?quarter of", "0.25 *"),
    (r"twice|double", "2 *"), (r"√", "sqrt"), (r"π", "pi"),
)  # fmt: skip


def digits(text: str) -> str:
    """``text`` with its number words as digits: "two hundred and five point one" -> "205.1"; the rest as it is."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text.lower())
    text = re.sub(rf"\b({'|'.join(TENS)})-(?=(?:{'|'.join(ONES)})\b)", r"\1 ", text)
    words = text.split()
    out: list[str] = []
    at = 0
    while at < len(words):
        end, value = _counted(words, at)
        if end == at:
            out.append(words[at])
            at += 1
            continue
        written, at = str(value), end
        if at + 1 < len(words) and words[at] == "point" and words[at + 1] in ONES:
            at += 1
            written += "."
            while at < len(words) and words[at] in ONES and ONES[words[at]] < 10:
                written += str(ONES[words[at]])
                at += 1
        out.append(written)
    return " ".join(out)


def _counted(words: list[str], at: int) -> tuple[int, int]:
    """Where the number in words that begins at ``at`` ends, and its value."""
    total = group = 0
    start, last = at, 0
    if words[at] in {"a", "an"} and at + 1 < len(words) and (words[at + 1] in SCALES or words[at + 1] == "hundred"):
        group, at = 1, at + 1
    while at < len(words):
        word = words[at]
        joins = word == "and" and at > start and words[at - 1] in {"hundred", *SCALES}
        if joins and at + 1 < len(words) and words[at + 1] in ONES.keys() | TENS.keys():
            at += 1
            continue
        if word in ONES:
            # "twenty one" goes on, "one two" is two numbers.
            if last and (last < 20 or last < 100 and not 0 < ONES[word] < 10):
                break
            group, last = group + ONES[word], max(1, ONES[word])
        elif word in TENS and (not last or last >= 100):
            group, last = group + TENS[word], TENS[word]
        elif word == "hundred" and 0 < group < 100:
            group, last = group * 100, 100
        elif word in SCALES and group:
            total, group, last = total + group * SCALES[word], 0, SCALES[word]
        else:
            break
        at += 1
    return at, total + group


def expression(text: str) -> str:
    """``text`` in words or signs as the grammar has it."""
    text = digits(re.sub(r"[?=]+\s*$", "", text.strip()))
    for phrase, sign in PHRASES:
        text = re.sub(rf"(?<![a-z])(?:{phrase})(?![a-z])", f" {sign} ", text)
    return " ".join(text.split())


def calculate(text: str) -> Number:
    """The value of an expression. Raises ``InputError`` (naming it) for what is none, or is too large."""
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"an expression of {len(text)} characters is too long")
    try:
        return _Parser(expression(text)).whole()
    except ZeroDivisionError:
        raise InputError(f"{text!r} divides by zero") from None
    except (OverflowError, ValueError):
        raise InputError(f"{text!r} has no value that I can write down") from None


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [match[1] or match[2] or match[3] for match in TOKEN.finditer(text)]
        self._at = self._depth = 0

    def whole(self) -> Number:
        value = self._sum()
        if self._at < len(self._tokens):
            raise InputError(f"{self._text!r} is no expression at {self._tokens[self._at]!r}")
        return value

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _took(self, *signs: str) -> str:
        """The next token if it is one of ``signs``; it is used up then."""
        found = self._next()
        if found and found in signs:
            self._at += 1
            return found
        return ""

    def _sum(self) -> Number:
        value = self._product()
        while sign := self._took("+", "-"):
            begin = self._at
            other = self._product()
            if self._tokens[begin + 1 : self._at] == ["%"]:
                other *= value  # 100 - 20% is 80
            value = _bounded(value + other if sign == "+" else value - other)
        return value

    def _product(self) -> Number:
        value = self._unary()
        while sign := self._took("*", "/", "mod"):
            other = self._unary()
            value = _bounded(value * other if sign == "*" else value / other if sign == "/" else value % other)
        return value

    def _unary(self) -> Number:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InputError(f"{self._text!r} is nested too deep")
        value = -self._unary() if self._took("-") else self._power()
        self._depth -= 1
        return value

    def _power(self) -> Number:
        value = self._postfix()
        return _power(value, self._unary()) if self._took("^") else value

    def _postfix(self) -> Number:
        value = self._atom()
        while sign := self._took("!", "%"):
            value = value / 100 if sign == "%" else _factorial(value)
        return value

    def _atom(self) -> Number:
        token = self._next()
        self._at += 1
        if token[:1].isdecimal() or token[:1] == ".":
            return _bounded(Fraction(token))
        if token in CONSTANTS:
            return CONSTANTS[token]
        if token in FUNCTIONS:
            result = FUNCTIONS[token](float(self._unary()))
            _bounded(result)
            # The root of 144 is 12, not 12.0.
            return Fraction(result) if result.is_integer() and abs(result) < 2**53 else result
        if token == "(":
            value = self._sum()
            if not self._took(")"):
                raise InputError(f"{self._text!r} lacks a closing parenthesis")
            return value
        raise InputError(f"{self._text!r} is no expression" + (f" at {token!r}" if token else ", it ends too early"))


def _bounded(value: Number) -> Number:
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise OverflowError
    elif isinstance(value, complex) or not math.isfinite(value):
        raise OverflowError
    return value


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits > MAX_BITS:
            raise OverflowError
        return base**exponent.numerator
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ValueError
    return _bounded(result)


def _factorial(value: Number) -> Fraction:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= MAX_FACTORIAL:
        raise OverflowError
    return Fraction(math.factorial(value.numerator))
