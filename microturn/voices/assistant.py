"""The voice in which the model answers: Kokoro's *af_heart*, word by word.

A word is said in the middle of three and cut out. Alone, Kokoro mumbles words (its style vectors for short texts are
poor): an independent recogniser has 23 % word errors in sentences of such words, 12 % in words of the middle, 12 % in
whole sentences (docs/log.md). The words around it are always the same, so that pitch and pace are those of one speaker
in one mood, and a word's sound is a matter of the word alone.

Kokoro takes half a second for a word, so words are made once and kept in a file that all processes of the machine use.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from microturn.errors import InputError, VoiceError
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices import kokoro
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.wordtimes import PEAK, tokens
from microturn.voices.workers import done_beside, never

SPEAKER = "af_heart"
BEFORE, AFTER = "now", "then"
RATE = 1.2
"""Of the three words: a word takes 2.4 turns in the mean."""
FADE_IN_MS, FADE_OUT_MS = 5.0, 25.0
"""At the edges of a word, which the words around it run into."""
FOLDER_VARIABLE = "MICROTURN_ASSISTANT"
"""Environment variable with another folder of words."""
CHUNK_WORDS = 50
"""Words that a process makes before they are written."""
PATIENCE_S = 60.0
"""How long a process waits for another one's words to be written."""

_PCM = "<i2"
_FULL = 32767.0


def assistant_voice() -> Voice:
    """Kokoro's *af_heart*. Raises ``VoiceError`` when it is not installed."""
    if SPEAKER not in kokoro.installed():
        raise VoiceError(f"the assistant's voice (kokoro {SPEAKER}) is not installed: run `make voices`")
    return Voice(f"kokoro/{SPEAKER}", "kokoro", SPEAKER)


@lru_cache(maxsize=256)
def word_pcm(token: str) -> Pcm:
    """``token`` (a lower-case word, or ``b.`` for a letter's name) as the assistant says it: 16 kHz, from its first
    sound to its last, peak ``PEAK``. Made if it was never said on this machine.

    Raises ``VoiceError`` if the voice is not installed or gives no sound, ``InputError`` for what is no word.
    """
    voice = assistant_voice()
    kept = _read(token)
    if kept is None:
        kept = _made(voice, token)
        _write([(token, kept)])
    return _faded(np.frombuffer(kept, _PCM).astype(np.float32) / np.float32(_FULL))


def _faded(pcm: Pcm) -> Pcm:
    fade_in, fade_out = (
        np.linspace(0.0, 1.0, min(round(fade_ms * SAMPLE_RATE_HZ / 1000), len(pcm) // 2), dtype=np.float32)
        for fade_ms in (FADE_IN_MS, FADE_OUT_MS)
    )
    pcm[: len(fade_in)] *= fade_in
    pcm[len(pcm) - len(fade_out) :] *= fade_out[::-1]
    return pcm


def make_words(words: Iterable[str], workers: int | None = None, stop: Callable[[], bool] = never) -> Iterator[int]:
    """Make those of ``words`` that were never said on this machine, until ``stop``, in processes that let others go
    first; yields how many are done so far. What the voice cannot say is left out. Raises as ``assistant_voice``."""
    assistant_voice()
    wanted = list(dict.fromkeys(words))
    missing = [token for token in wanted if _read(token) is None]
    done = len(wanted) - len(missing)
    yield done
    chunks = [missing[at : at + CHUNK_WORDS] for at in range(0, len(missing), CHUNK_WORDS)]
    for size in done_beside((partial(_make_chunk, chunk) for chunk in chunks), workers, stop):
        done += size
        yield done


def _make_chunk(wanted: list[str]) -> int:
    voice, made = assistant_voice(), []
    with threadpool_limits(1):
        for token in wanted:
            try:
                made.append((token, _made(voice, token)))
            except VoiceError:
                continue  # espeak-ng reads it as two words
    _write(made)
    return len(wanted)


def _made(voice: Voice, token: str) -> bytes:
    if len(tokens(token)) != 1:
        raise InputError(f"{token!r} is not one word")
    speech = synthesise(voice, f"{BEFORE}, {token}, {AFTER}", rate=RATE)
    word = speech.words[1]
    first, last = (round(edge_ms * SAMPLE_RATE_HZ / 1000) for edge_ms in (word.start_ms, word.end_ms))
    pcm = speech.pcm[first:last]
    peak = float(np.abs(pcm).max(initial=0.0))
    if peak == 0.0:
        raise VoiceError(f"the assistant's voice gave no sound for {token!r}")
    return (pcm * (PEAK * _FULL / peak)).round().astype(_PCM).tobytes()


def _store() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else Path.home() / ".cache" / "microturn" / "assistant"
    return folder / f"{SPEAKER}-{BEFORE}-{AFTER}-{RATE}.sqlite"


def _read(token: str) -> bytes | None:
    with _opened(_store()) as words:
        found = words.execute("SELECT pcm FROM word WHERE token = ?", (token,)).fetchone()
    return None if found is None else bytes(found[0])


def _write(made: list[tuple[str, bytes]]) -> None:
    with _opened(_store()) as words:
        words.executemany("INSERT OR REPLACE INTO word VALUES (?, ?)", made)


@contextmanager
def _opened(store: Path) -> Iterator[sqlite3.Connection]:
    """A transaction. Every one has a connection of its own, since a connection does not outlive a fork."""
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(store, timeout=PATIENCE_S)) as words, words:
            words.execute("CREATE TABLE IF NOT EXISTS word (token TEXT PRIMARY KEY, pcm BLOB NOT NULL) WITHOUT ROWID")
            yield words
    except (OSError, sqlite3.Error) as error:
        raise VoiceError(f"{store}: the assistant's words cannot be kept there ({error})") from error
