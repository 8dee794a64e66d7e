"""How words sound within their sentence, in the international phonetic alphabet, as espeak-ng reads them: what voices
that are networks are given."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from microturn.errors import VoiceError
from microturn.voices import espeak
from microturn.voices.wordtimes import Token

TIE = "^"
"""Between the parts of one sound."""
_TIED_IPA = 0x82 | ord(TIE) << 8
_UTF8 = 1
_RETRIEVAL = 1
# A plain space would let espeak-ng say pairs ("of the") as one word.
_NO_BREAK_SPACE = "\u00a0"


def word_ipa(spoken: Sequence[Token], accent: str) -> tuple[str, ...]:
    """Every word with its marks of stress; ``accent`` is espeak-ng's, as "en-us".

    Raises ``VoiceError`` for a word without sound.
    """
    clauses: list[list[str]] = [[]]
    for token in spoken:
        # The name of the letter a; within a clause espeak-ng would read the article.
        alone = token.letter and token.word == "a"
        if alone and clauses[-1]:
            clauses.append([])
        clauses[-1].append(token.word)
        if alone or token.pause:
            clauses.append([])
    clauses = [clause for clause in clauses if clause]
    words: list[str] = []
    with espeak.library(_RETRIEVAL) as (library, _):
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_SetVoiceByName(accent.encode())
        for clause in clauses:
            found = _clause_ipa(library, _NO_BREAK_SPACE.join(clause)).split()
            if len(found) != len(clause):
                text = " ".join(clause)
                raise VoiceError(f"espeak-ng reads {len(found)} words, not {len(clause)}, in {text[:80]!r}")
            words += found
    return tuple(words)


def _clause_ipa(library: ctypes.CDLL, text: str) -> str:
    left = ctypes.c_char_p(text.encode())
    parts: list[str] = []
    # The library moves the pointer past what it has read, and sets it to null at the end.
    while left.value is not None:
        parts.append(library.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _TIED_IPA).decode())
    return " ".join(parts)
