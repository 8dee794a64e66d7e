"""An engine that is hidden counts as not installed, wherever it is asked for, from then on."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.errors import InputError, VoiceError
from microturn.voices import festival, flite, kokoro, moonshine, piper
from microturn.voices.assistant import assistant_voice
from microturn.voices.catalogue import Engine, Voice, draw_voice, synthesise, voices
from microturn.voices.wordtimes import HIDE_VARIABLE, OPTIONAL_ENGINES, hidden
from tests.conftest import missing_speakers, pytest_runtest_setup

SPEAKERS: dict[Engine, tuple[str, ...]] = {
    "flite": flite.SPEAKERS,
    "festival": festival.SPEAKERS,
    "kokoro": ("af_heart",),
    "piper": piper.SPEAKERS,
}


@pytest.mark.parametrize("named", ["", "flite", " festival , kokoro,", ",".join(OPTIONAL_ENGINES)])
def test_engines_are_hidden_by_name(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HIDE_VARIABLE, named)
    assert [engine for engine in OPTIONAL_ENGINES if hidden(engine)] == [
        engine for engine in OPTIONAL_ENGINES if engine in named
    ]
    monkeypatch.delenv(HIDE_VARIABLE)
    assert not any(map(hidden, OPTIONAL_ENGINES))


def test_a_wrong_name_is_not_taken_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for named in ("flit", "flite festival", "espeak"):
        monkeypatch.setenv(HIDE_VARIABLE, named)
        with pytest.raises(
            InputError, match=f"{HIDE_VARIABLE}: '{named}' is none of flite, festival, kokoro, piper, moonshine"
        ):
            voices("train")


def test_with_all_of_them_hidden_none_of_them_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HIDE_VARIABLE, ",".join(OPTIONAL_ENGINES))
    assert not any(engine.installed() for engine in (flite, festival, kokoro, piper, moonshine))
    rng = np.random.default_rng(0)
    for split in ("train", "heldout"):
        engines = {voice.engine for voice in voices(split)} | {draw_voice(rng, split).engine for _ in range(50)}
        assert "espeak" in engines and not engines & set(OPTIONAL_ENGINES)
    with pytest.raises(VoiceError, match="kokoro af_heart"):
        assistant_voice()


@pytest.mark.parametrize("engine", SPEAKERS)
def test_a_hidden_voice_cannot_be_made_to_speak(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HIDE_VARIABLE, engine)
    for speaker in SPEAKERS[engine]:
        with pytest.raises(VoiceError, match=speaker):
            synthesise(Voice("", engine, speaker), "hello")


@pytest.mark.needs_engine("flite", "slt")
def test_a_voice_that_was_hidden_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = synthesise(Voice("flite/slt", "flite", "slt"), "hello").pcm
    monkeypatch.setenv(HIDE_VARIABLE, "flite")
    assert missing_speakers("flite", ["slt"]) == ["slt"] and missing_speakers("flite") == list(flite.SPEAKERS)
    monkeypatch.setenv(HIDE_VARIABLE, "festival")
    assert missing_speakers("flite", ["slt"]) == []
    assert np.array_equal(synthesise(Voice("flite/slt", "flite", "slt"), "hello").pcm, shown)


def test_the_marker_skips_and_says_which_voice_is_missing(request: pytest.FixtureRequest) -> None:
    request.node.add_marker(pytest.mark.needs_engine("flite", "slt", "nobody"))
    with pytest.raises(pytest.skip.Exception, match=r"not installed \(make voices\): .*flite/nobody"):
        pytest_runtest_setup(request.node)
