"""Kokoro: what it reads, who speaks, and that the times it gives are those of the sound."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from microturn.errors import VoiceError
from microturn.language import lexicon
from microturn.scenario import filling
from microturn.scenario.filling import BankConfig, fill
from microturn.voices import espeak, kokoro
from microturn.voices.bank import Part
from microturn.voices.catalogue import (
    BLEND_PROBABILITY,
    HELDOUT_STYLES,
    Voice,
    draw_kokoro_voice,
    draw_voice,
    kokoro_voices,
    synthesise,
    voices,
)
from microturn.voices.speech import Speech
from microturn.voices.wordtimes import HIDE_VARIABLE, RawSpeech, Token, tokens
from tests.voices.spoken import SENTENCE, WORDS, assert_understood, power_outside
from tests.voices.test_catalogue import fundamental_hz

needs_kokoro = pytest.mark.needs_engine("kokoro")


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs the voice has been skipped where it is hidden; the rest makes files of its own."""
    monkeypatch.delenv(HIDE_VARIABLE, raising=False)


def symbols(text: str, *, british: bool = False) -> list[str]:
    return list(kokoro.transcribe(tokens(text), british))


def said(style: str, text: str, *, rate: float = 1.0, pitch: float = 1.0) -> Speech:
    return synthesise(Voice(f"kokoro/{style}", "kokoro", style), text, rate=rate, pitch=pitch)


@pytest.fixture
def styles_without_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """All styles, spoken by espeak-ng: for what is drawn and kept, where Kokoro is not installed and would be slow."""

    def speak(speaker: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
        return espeak.speak("en-us", "f2" if speaker[1] == "f" else "m3", spoken, rate, pitch)

    monkeypatch.setattr(kokoro, "installed", lambda: kokoro.SPEAKERS)
    monkeypatch.setattr(kokoro, "speak", speak)


def test_every_word_of_a_sentence_is_read_apart_and_as_in_a_sentence() -> None:
    assert symbols("one of the cats is in the garden") == ["wˈʌn", "ʌv", "ðə", "kˈæts", "ɪz", "ɪn", "ðə", "ɡˈɑɹdən"]
    assert symbols("the apple, the pear") == ["ðɪ", "ˈæpᵊl", "ðə", "pˈɛɹ"]


def test_diphthongs_and_affricates_are_one_symbol_as_kokoro_learnt_them() -> None:
    assert symbols("say my joke out loud, choose toys") == ["sˈA", "mI", "ʤˈOk", "ˈWt", "lˈWd", "ʧˈuz", "tˈYz"]
    assert symbols("go there", british=True) == ["ɡˌQ", "ðˈɛː"]
    assert symbols("water button hurry during") == ["wˈɔTəɹ", "bˈʌtᵊn", "hˈɜɹi", "dˈʊɹɪŋ"]


def test_letters_are_named() -> None:
    assert symbols("a. cat, c. a. t. a") == ["ˈA", "kˈæt", "sˈi", "ˈA", "tˈi", "ˈA"]
    assert symbols("z.") == ["zˈi"] and symbols("z.", british=True) == ["zˈɛd"]
    assert symbols("spell a cat")[1] == "ə"


@pytest.mark.parametrize("british", [False, True])
def test_every_word_and_letter_can_be_read(british: bool) -> None:
    letters = [f"{letter}." for letter in lexicon.LETTERS]
    words = [*lexicon.CONTENT, *lexicon.FUNCTION, *lexicon.UNSEEN, *letters]
    read = kokoro.transcribe(tokens(", ".join(words)), british)
    assert len(read) == len(words)
    assert {*"".join(read)} <= kokoro._SYMBOLS.keys()


def test_styles_are_found_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kokoro, "_has_network", lambda: True)
    monkeypatch.setenv(kokoro.FOLDER_VARIABLE, str(tmp_path))
    for style in ("af_heart", "bm_george", "zf_xiaoni"):
        (tmp_path / f"{style}.bin").write_bytes(b"")
    assert kokoro.installed() == ("af_heart", "bm_george")
    monkeypatch.setattr(kokoro, "_has_network", lambda: False)
    assert kokoro.installed() == ()


@pytest.mark.parametrize(
    "speaker", ["nobody", "af_heart+bm_george", "af_heart+af_nobody/0.5", "af_heart/0.5", "am_puck"]
)
def test_a_speaker_that_is_not_there_is_a_voice_error(
    speaker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kokoro.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(kokoro, "_has_network", lambda: True)
    (tmp_path / "af_heart.bin").write_bytes(b"")
    with pytest.raises(VoiceError, match=r"kokoro.*(nobody|george|heart/|puck)"):
        kokoro.speak(speaker, tokens("hello"), 1.0, 1.0)


def test_a_damaged_table_of_styles_is_a_voice_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kokoro.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(kokoro, "_has_network", lambda: True)
    (tmp_path / "af_heart.bin").write_bytes(bytes(4000))
    with pytest.raises(VoiceError, match=r"af_heart\.bin is damaged: 1000 numbers"):
        kokoro.speak("af_heart", tokens("hello"), 1.0, 1.0)


@needs_kokoro
def test_a_text_that_is_too_long_is_a_voice_error() -> None:
    with pytest.raises(VoiceError, match=r"symbols are more than 510"):
        kokoro.speak("af_heart", tokens("wednesday, " * 80), 1.0, 1.0)


def test_a_clause_that_espeak_does_not_read_to_its_end_is_a_voice_error() -> None:
    with pytest.raises(VoiceError, match=r"reads \d+ words, not 400"):
        symbols("wednesday " * 400)


@needs_kokoro
@pytest.mark.parametrize("style", ["af_heart", "am_michael", "bf_emma"])
def test_an_independent_recogniser_understands_it(style: str) -> None:
    assert_understood(said(style, ", ".join(WORDS)))


@needs_kokoro
def test_words_lie_where_the_sound_is() -> None:
    outside, num_pieces = power_outside(said("am_michael", SENTENCE))
    assert outside < 1 / 300
    assert num_pieces >= 10, "two pauses"


@needs_kokoro
def test_it_gives_the_same_samples_whatever_was_spoken_before_and_in_a_fork() -> None:
    first = said("af_heart", "red").pcm.tobytes()
    said("am_michael", "two", rate=1.2, pitch=0.9)
    assert said("af_heart", "red").pcm.tobytes() == first
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_red) == first


def _red() -> bytes:
    return said("af_heart", "red").pcm.tobytes()


@needs_kokoro
def test_rate_and_pitch() -> None:
    plain, fast, high = (
        said("am_michael", "seven bananas", rate=rate, pitch=pitch) for rate, pitch in ((1, 1), (1.3, 1), (1, 1.25))
    )
    assert len(fast.pcm) < 0.9 * len(plain.pcm)
    assert len(high.pcm) == pytest.approx(len(plain.pcm), rel=0.1)
    assert fundamental_hz(high) > 1.15 * fundamental_hz(plain)


@needs_kokoro
def test_a_blend_is_a_speaker_of_its_own_with_the_accent_of_the_larger_share() -> None:
    accents = {}
    for speaker in ("af_heart", "bm_george", "af_heart+bm_george/0.4", "af_heart+bm_george/0.6"):
        samples = kokoro.speak(speaker, tokens("banana"), 1.0, 1.0).samples
        accents[speaker] = kokoro._style_table(speaker)[1], samples.tobytes()
    assert [british for british, _ in accents.values()] == [False, True, False, True]
    assert len({samples for _, samples in accents.values()}) == 4


@pytest.mark.usefixtures("styles_without_sound")
def test_held_out_styles_are_never_trained_on_and_never_blended() -> None:
    training, heldout = kokoro_voices("train"), kokoro_voices("heldout")
    assert {voice.speaker for voice in heldout} == {*HELDOUT_STYLES}
    assert {voice.speaker for voice in training} == {*kokoro.SPEAKERS} - {*HELDOUT_STYLES}
    rng = np.random.default_rng(0)
    drawn = [draw_kokoro_voice(rng, "train") for _ in range(500)]
    assert not [voice for voice in drawn if any(style in voice.speaker for style in HELDOUT_STYLES)]
    blends = [voice.speaker for voice in drawn if "+" in voice.speaker]
    assert len(blends) == pytest.approx(500 * BLEND_PROBABILITY, abs=40) and len({*blends}) > 0.95 * len(blends)
    assert {draw_kokoro_voice(rng, "heldout") for _ in range(100)} == {*heldout}


@pytest.mark.usefixtures("styles_without_sound")
def test_sessions_never_wait_for_it() -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "heldout"):
        assert {"kokoro"}.isdisjoint({voice.engine for voice in voices(split)})
        assert {"kokoro"}.isdisjoint({draw_voice(rng, split).engine for _ in range(100)})


def test_without_it_no_voice_is_drawn_and_no_part_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kokoro, "installed", lambda: ())
    with pytest.raises(VoiceError, match="make voices"):
        draw_kokoro_voice(np.random.default_rng(0), "train")
    assert list(fill(tmp_path, BankConfig(num_synthesised=0, num_kokoro=2), None, workers=1)) == []


@pytest.mark.usefixtures("styles_without_sound")
def test_a_bank_is_given_its_parts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Worker processes are forked from this one, so they make small parts too.
    monkeypatch.setattr(filling, "KOKORO_PART_UTTERANCES", 2)
    config = BankConfig(num_synthesised=0, num_kokoro=3)
    made = {path.name for path in fill(tmp_path, config, None, workers=1)}
    assert made == {"kokoro-train-0000", "kokoro-train-0001"}
    first = Part(tmp_path / "kokoro-train-0000")
    assert len(first) == 2 and first.speech(1).words
    for utterance in first.utterances:
        assert utterance.source == "kokoro" and utterance.speaker.startswith("kokoro/")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.i16")}
    (tmp_path / "kokoro-train-0001").rename(tmp_path / "kept")
    assert len(list(fill(tmp_path, config, None, workers=1))) == 2
    assert (tmp_path / "kokoro-train-0000/samples.i16").stat().st_mtime_ns in before.values()
    again = tmp_path / "kokoro-train-0001/samples.i16"
    assert again.read_bytes() == (tmp_path / "kept/samples.i16").read_bytes()
    assert again.read_bytes() != (tmp_path / "kokoro-train-0000/samples.i16").read_bytes()
