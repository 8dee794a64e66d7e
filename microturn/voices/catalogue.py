"""The catalogue of voices: who speaks in training, who is kept for testing, and how each is made to speak.

Held out are whole espeak-ng speakers (over all accents), whole styles of Kokoro and one whole engine, festival, so that
the figures on held-out voices say what a new voice and a new engine do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from microturn.errors import InputError, VoiceError
from microturn.split import Split
from microturn.voices import espeak, festival, flite, kokoro, piper
from microturn.voices.speech import Speech
from microturn.voices.wordtimes import finish, tokens

Engine = Literal["espeak", "flite", "festival", "kokoro", "piper"]

MIN_FACTOR, MAX_FACTOR = 0.5, 2.0
"""Range of ``rate`` and ``pitch``."""

TRAINING_VARIANTS = (
    "", "Alex", "Andrea", "Andy", "Denis", "Diogo", "Gene2", "Henrique", "Hugo", "Jacky", "Mario", "Mike",
    "Mr serious", "Nguyen", "Reed", "RicishayMax", "RicishayMax3", "Storm", "anika", "antonio", "aunty", "benjamin",
    "david", "ed", "edward", "edward2", "f1", "f2", "f3", "f4", "grandma", "iven", "iven3", "john", "klatt", "klatt2",
    "klatt4", "m1", "m2", "m3", "m4", "m5", "m6", "m8", "max", "michel", "miguel", "norbert", "paul", "pedro", "rob",
    "robert", "sandro", "steph2", "victor",
)  # fmt: skip
"""espeak-ng's speakers for training, in every accent. Left out of both lists: whispering, croaking and robot voices,
and ten of whose single words pocketsphinx got fewer than half (24 words, a grammar of 105, American accent; the
others: median 83 %)."""

HELDOUT_VARIANTS = (
    "Annie", "Gene", "adam", "belinda", "f5", "grandpa", "klatt3", "linda", "m7", "mike2", "pablo", "quincy", "shelby",
    "steph",
)  # fmt: skip
"""espeak-ng's speakers that are never used in training, in any accent."""

HELDOUT_STYLES = ("bf_lily", "am_puck", "bm_fable", "af_sky", "am_onyx")
"""Kokoro's styles that are never used in training, and never blended."""


@dataclass(frozen=True)
class Voice:
    """One voice. ``speaker`` is the engine's name for it; ``accent`` is espeak-ng's, ``""`` for other engines."""

    name: str
    engine: Engine
    speaker: str
    accent: str = ""


def voices(split: Split) -> tuple[Voice, ...]:
    """The installed voices of a split, in a fixed order: espeak-ng's first, then the other engines'."""
    variants = TRAINING_VARIANTS if split == "train" else HELDOUT_VARIANTS
    found = [
        Voice(f"espeak/{accent}+{variant}" if variant else f"espeak/{accent}", "espeak", variant, accent)
        for variant in variants
        for accent in espeak.ACCENTS
    ]
    if split == "train":
        found += [Voice(f"flite/{speaker}", "flite", speaker) for speaker in flite.installed()]
    else:
        found += [Voice(f"festival/{speaker}", "festival", speaker) for speaker in festival.installed()]
    return tuple(found)


OTHER_ENGINE_SHARE: dict[Split, float] = {"train": 0.35, "heldout": 0.2}
"""Probability that a drawn voice is not espeak-ng's. Other engines have few voices, but sound more like people."""


def draw_voice(rng: np.random.Generator, split: Split) -> Voice:
    """Draw a voice: espeak-ng has hundreds and the other engine few, so the engine is drawn first."""
    catalogue = voices(split)
    other = [voice for voice in catalogue if voice.engine != "espeak"]
    espeak_voices = [voice for voice in catalogue if voice.engine == "espeak"]
    chosen = other if rng.random() < OTHER_ENGINE_SHARE[split] and other else espeak_voices
    return chosen[int(rng.integers(len(chosen)))]


def kokoro_voices(split: Split) -> tuple[Voice, ...]:
    """Kokoro's installed styles of a split. They are not among ``voices``: they speak little faster than real time,
    which does for a voice bank, not for sessions that are made while training."""
    return tuple(
        Voice(f"kokoro/{style}", "kokoro", style)
        for style in kokoro.installed()
        if (style in HELDOUT_STYLES) == (split == "heldout")
    )


BLEND_PROBABILITY = 0.6
BLEND_SHARES = (0.2, 0.8)
"""Range of the second style's share: nearer to the ends a blend is hardly a new speaker."""


def draw_kokoro_voice(rng: np.random.Generator, split: Split) -> Voice:
    """Draw one of Kokoro's styles or, for training, a blend of two, which is a speaker that nobody has met.

    Raises ``VoiceError`` when Kokoro is not installed.
    """
    styles = [voice.speaker for voice in kokoro_voices(split)]
    if not styles:
        raise VoiceError("kokoro is not installed: run `make voices`")
    speaker = styles[int(rng.integers(len(styles)))]
    if split == "train" and len(styles) > 1 and rng.random() < BLEND_PROBABILITY:
        first, second = (styles[index] for index in rng.choice(len(styles), 2, replace=False))
        speaker = f"{first}+{second}/{rng.uniform(*BLEND_SHARES):.2f}"
    return Voice(f"kokoro/{speaker}", "kokoro", speaker)


def draw_piper_voice(rng: np.random.Generator, split: Split) -> Voice:
    """Draw one of Piper's voices, which are for training alone, and for a voice bank alone.

    Raises ``VoiceError`` when Piper is not installed.
    """
    speakers = piper.installed() if split == "train" else ()
    if not speakers:
        raise VoiceError("piper is not installed, or asked for held-out voices: run `make voices`")
    speaker = speakers[int(rng.integers(len(speakers)))]
    return Voice(f"piper/{speaker}", "piper", speaker)


def synthesise(voice: Voice, text: str, *, rate: float = 1.0, pitch: float = 1.0) -> Speech:
    """Say ``text`` (see ``wordtimes.tokens``: lower-case words, commas for pauses, ``a.`` for the letter's name).

    ``rate`` multiplies the speed and ``pitch`` the fundamental frequency, each within 0.5 to 2. Returns 16 kHz mono
    float32, peak ``wordtimes.PEAK``, with exactly one ``Word`` per word of the text (a letter without its full stop)
    and at most 10 ms of silence at either end. The same arguments give the same samples. Raises ``InputError`` for a
    text or factor out of range and ``VoiceError`` when the voice is not installed.
    """
    for what, factor in (("rate", rate), ("pitch", pitch)):
        if not MIN_FACTOR <= factor <= MAX_FACTOR:
            raise InputError(f"{what} {factor} is outside {MIN_FACTOR} to {MAX_FACTOR}")
    spoken = tokens(text)
    match voice.engine:
        case "espeak":
            raw = espeak.speak(voice.accent, voice.speaker, spoken, rate, pitch)
        case "flite":
            raw = flite.speak(voice.speaker, spoken, rate, pitch)
        case "festival":
            raw = festival.speak(voice.speaker, spoken, rate, pitch)
        case "kokoro":
            raw = kokoro.speak(voice.speaker, spoken, rate, pitch)
        case "piper":
            raw = piper.speak(voice.speaker, spoken, rate, pitch)
    return finish(spoken, raw)
