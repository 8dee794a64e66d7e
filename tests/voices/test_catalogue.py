"""The voices: all of them speak, their word times agree with the sound, and the same call gives the same samples."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microturn.errors import InputError, VoiceError
from microturn.language import lexicon
from microturn.split import Split
from microturn.turn import SAMPLE_RATE_HZ
from microturn.voices import espeak, festival, flite
from microturn.voices.catalogue import (
    HELDOUT_VARIANTS,
    OTHER_ENGINE_SHARE,
    TRAINING_VARIANTS,
    Engine,
    Voice,
    draw_voice,
    synthesise,
    voices,
)
from microturn.voices.speech import Speech
from microturn.voices.wordtimes import PEAK, resample, tokens

needs_engine = pytest.mark.needs_engine

ESPEAK = Voice("espeak/en-us+f2", "espeak", "f2", "en-us")
SENTENCE = "say banana, two green cats, and a table"
SLT = Voice("flite/slt", "flite", "slt")
ANY_ENGINE = pytest.mark.parametrize("voice", [ESPEAK, pytest.param(SLT, marks=needs_engine("flite", "slt"))])


def samples_per_ms(ms: float) -> int:
    return int(ms * SAMPLE_RATE_HZ / 1000)


def check_words(speech: Speech, text: str) -> None:
    """The words of ``text`` in order, not overlapping, inside a sound that is loud within them and quiet between."""
    assert [word.text for word in speech.words] == text.replace(",", "").replace(".", "").split()
    assert speech.pcm.dtype == np.float32 and speech.pcm.ndim == 1
    assert np.abs(speech.pcm).max() == pytest.approx(PEAK, rel=0.02)
    for word in speech.words:
        # The shortest possible vowel.
        assert word.end_ms - word.start_ms >= 15.0, word
    for before, after in pairwise(speech.words):
        assert before.end_ms <= after.start_ms
    length_ms = len(speech.pcm) * 1000 / SAMPLE_RATE_HZ
    assert 0.0 <= speech.words[0].start_ms <= 10.0
    assert length_ms - 10.0 <= speech.words[-1].end_ms <= length_ms
    inside = np.zeros(len(speech.pcm), bool)
    for word in speech.words:
        inside[samples_per_ms(word.start_ms) : samples_per_ms(word.end_ms)] = True
    power = np.square(speech.pcm)
    if (~inside).sum() > 160:
        assert power[inside].mean() > 300 * power[~inside].mean()


def check_engine(voice: Voice, spelling: str) -> None:
    """Right words at any rate and pitch, and the same samples whatever was said before."""
    check_words(synthesise(voice, SENTENCE), SENTENCE)
    check_words(synthesise(voice, spelling, rate=1.2, pitch=0.9), spelling)
    first = synthesise(voice, "banana").pcm
    synthesise(voice, "something else")
    assert np.array_equal(synthesise(voice, "banana").pcm, first)


@pytest.mark.parametrize("place", range(len(TRAINING_VARIANTS)), ids=lambda place: TRAINING_VARIANTS[place])
def test_espeak_training_voices_speak_with_right_word_times(place: int) -> None:
    """Every speaker once, the accents in turn."""
    accent = espeak.ACCENTS[place % len(espeak.ACCENTS)]
    check_words(synthesise(Voice("", "espeak", TRAINING_VARIANTS[place], accent), SENTENCE), SENTENCE)


@pytest.mark.parametrize("variant", HELDOUT_VARIANTS)
def test_heldout_espeak_voices_speak_with_right_word_times(variant: str) -> None:
    check_words(synthesise(Voice("", "espeak", variant, "en-us"), SENTENCE), SENTENCE)


@pytest.mark.parametrize(
    "speaker", [pytest.param(speaker, marks=needs_engine("flite", speaker)) for speaker in flite.SPEAKERS]
)
def test_flite_speaks_with_right_word_times(speaker: str) -> None:
    check_engine(Voice("", "flite", speaker), "spell cat, c., a., t.")


@pytest.mark.parametrize(
    "speaker", [pytest.param(speaker, marks=needs_engine("festival", speaker)) for speaker in festival.SPEAKERS]
)
def test_festival_speaks_with_right_word_times(speaker: str) -> None:
    check_engine(Voice("", "festival", speaker), "spell cat, c. a. t.")


def test_there_are_enough_training_voices_and_none_is_held_out() -> None:
    training, heldout = voices("train"), voices("heldout")
    assert len(training) >= 60 and len({voice.name for voice in training}) == len(training)
    assert not {(one.engine, one.speaker) for one in training} & {(one.engine, one.speaker) for one in heldout}
    assert len({voice.speaker for voice in heldout if voice.engine == "espeak"}) >= 12
    assert {voice.engine for voice in training} & {voice.engine for voice in heldout} == {"espeak"}


def test_every_speaker_of_the_lists_is_in_the_wheel() -> None:
    assert {*TRAINING_VARIANTS, *HELDOUT_VARIANTS} - {""} <= espeak.variants()


def test_every_espeak_speaker_sounds_different() -> None:
    names = (*TRAINING_VARIANTS, *HELDOUT_VARIANTS)
    sounds = {name: synthesise(Voice("", "espeak", name, "en-us"), "red").pcm.tobytes() for name in names}
    assert len(set(sounds.values())) == len(names)


def test_espeak_gives_the_same_samples_whatever_was_spoken_before() -> None:
    wanted = {name: synthesise(Voice("", "espeak", name, "en-us"), "red apple").pcm for name in ("f2", "klatt4", "m3")}
    for before in ("hello there", "six", "a long sentence about nothing at all"):
        for name, pcm in wanted.items():
            synthesise(ESPEAK, before, rate=1.4, pitch=1.3)
            assert np.array_equal(synthesise(Voice("", "espeak", name, "en-us"), "red apple").pcm, pcm)


@needs_engine("flite", "slt", "rms")
def test_flite_gives_the_same_samples_whatever_was_spoken_before() -> None:
    first = synthesise(SLT, "red apple").pcm
    synthesise(Voice("", "flite", "rms"), "something else", rate=0.7, pitch=1.2)
    synthesise(SLT, "green pear", rate=1.3, pitch=1.2)
    assert np.array_equal(synthesise(SLT, "red apple").pcm, first)


def _spoken_by_worker(voice: Voice) -> bytes:
    return synthesise(voice, "blue window").pcm.tobytes()


@ANY_ENGINE
def test_forked_workers_speak_like_their_parent(voice: Voice) -> None:
    wanted = _spoken_by_worker(voice)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_spoken_by_worker, [voice] * 4) == [wanted] * 4


def test_every_word_and_letter_can_be_spoken() -> None:
    words = [*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.UNSEEN, *(f"{letter}." for letter in lexicon.LETTERS)]
    for start in range(0, len(words), 8):
        text = ", ".join(words[start : start + 8])
        check_words(synthesise(ESPEAK, text), text)


@ANY_ENGINE
def test_the_letter_a_is_not_the_article(voice: Voice) -> None:
    article, letter = (synthesise(voice, text).words[1] for text in ("spell a cat", "spell a. cat"))
    assert letter.text == "a"
    assert letter.end_ms - letter.start_ms > 1.4 * (article.end_ms - article.start_ms)


@ANY_ENGINE
@pytest.mark.parametrize("text", ["one of the cats", "in the garden", "what's on the table", "i'm fine"])
def test_words_that_engines_join_keep_a_time_of_their_own(voice: Voice, text: str) -> None:
    check_words(synthesise(voice, text), text)


@ANY_ENGINE
def test_rate_and_pitch(voice: Voice) -> None:
    plain = synthesise(voice, SENTENCE)
    fast = synthesise(voice, SENTENCE, rate=1.3)
    assert len(fast.pcm) < 0.9 * len(plain.pcm)
    assert fundamental_hz(synthesise(voice, SENTENCE, pitch=1.3)) > 1.15 * fundamental_hz(plain)


@needs_engine("flite", "rms")
def test_a_voice_without_pitch_model_changes_pitch_and_keeps_its_tempo() -> None:
    voice = Voice("", "flite", "rms")
    plain, high = synthesise(voice, SENTENCE), synthesise(voice, SENTENCE, pitch=1.25)
    assert fundamental_hz(high) > 1.15 * fundamental_hz(plain)
    assert len(high.pcm) == pytest.approx(len(plain.pcm), rel=0.03)
    check_words(high, SENTENCE)


def fundamental_hz(speech: Speech) -> float:
    """Median fundamental frequency of the voiced frames, by autocorrelation between 70 and 400 Hz."""
    found = []
    for start in range(0, len(speech.pcm) - 1024, 320):
        part = speech.pcm[start : start + 1024].astype(np.float64)
        if np.abs(part).max() < 0.1:
            continue
        correlation = np.correlate(part, part, "full")[1023:]
        lag = 40 + int(correlation[40:228].argmax())
        if correlation[lag] > 0.5 * correlation[0]:
            found.append(SAMPLE_RATE_HZ / lag)
    return float(np.median(found))


@pytest.mark.parametrize(
    "split",
    [
        pytest.param("train", marks=needs_engine("flite", "slt")),
        pytest.param("heldout", marks=needs_engine("festival", "kal_diphone")),
    ],
)
def test_draw_voice_gives_other_engines_their_share(split: Split) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_voice(rng, split) for _ in range(400)]
    assert set(drawn) <= set(voices(split))
    expected = 400 * OTHER_ENGINE_SHARE[split]
    assert abs(sum(voice.engine != "espeak" for voice in drawn) - expected) <= 40


@pytest.mark.parametrize("text", ["", "Hello", "twenty-one", "3 cats", "hello.", "cat ,", "what?", "naïve"])
def test_a_text_that_cannot_be_spoken_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="cannot speak"):
        synthesise(ESPEAK, text)


@pytest.mark.parametrize("factors", [{"rate": 0.1}, {"pitch": 3.0}])
def test_a_factor_out_of_range_is_an_input_error(factors: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(factors))):
        synthesise(ESPEAK, "hello", **factors)


@pytest.mark.parametrize("engine", ["espeak", "flite", "festival"])
def test_an_unknown_speaker_is_a_voice_error(engine: Engine) -> None:
    voice = Voice("", engine, "nobody", "en-us")
    with pytest.raises(VoiceError, match="nobody"):
        synthesise(voice, "hello")


def test_tokens_tell_letters_from_words() -> None:
    found = tokens("a cat, a. b i o.")
    assert [token.word for token in found] == ["a", "cat", "a", "b", "i", "o"]
    assert [token.letter for token in found] == [False, False, True, True, False, True]
    assert [token.pause for token in found] == [False, True, False, False, False, False]


@given(frequency_hz=st.floats(100.0, 6500.0), from_hz=st.sampled_from([22_050.0, 32_000.0, 44_100.0, 18_400.5]))
def test_resample_keeps_a_tone(frequency_hz: float, from_hz: float) -> None:
    length_s = 0.25
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(int(from_hz * length_s)) / from_hz).astype(np.float32)
    changed = resample(tone, from_hz)
    # A rate that is not a whole number is met within 0.2 %, so the tone is compared by its pitch.
    middle = changed[500:3500] * np.hanning(3000)
    peak_hz = np.abs(np.fft.rfft(middle, 2**16)).argmax() * SAMPLE_RATE_HZ / 2**16
    assert peak_hz == pytest.approx(frequency_hz, rel=0.004, abs=1.0)
    assert len(changed) == pytest.approx(length_s * SAMPLE_RATE_HZ, rel=0.004)
    # Not by its highest sample: at 1,600 Hz the ten of a period may all lie beside the peak.
    assert np.sqrt(2 * np.mean(changed[500:3500] ** 2)) == pytest.approx(1.0, abs=0.03)


def test_resample_removes_what_16_khz_cannot_hold() -> None:
    tone = np.sin(2 * np.pi * 9000 * np.arange(22_050) / 22_050).astype(np.float32)
    assert np.abs(resample(tone, 22_050)[500:-500]).max() < 0.01
