"""Listening practice: words lie where their sound is, gaps are silent, and a seed gives the same session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from microturn.errors import InputError
from microturn.scenario.listening import EXCERPT_WORDS, Listening, ListeningConfig, Practice
from microturn.split import Split
from microturn.turn import TURN_MS, TURN_SAMPLES
from microturn.voices import noise
from microturn.voices.bank import write_part
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.speech import Speech
from tests.voices.recorded import record

SYNTHESISED = ("hello there", "say banana", "two green cats and a table", "it is cold on monday")
SPOKEN = ("up", "stop", "marvin")
HELDOUT = ("zero", "nine")
TURNS = 30
SHARES = {"synthesised": 0.5, "commands": 0.5}


def speak(texts: tuple[str, ...], speaker: str) -> list[tuple[str, str, Speech]]:
    speeches = [synthesise(Voice("", "espeak", speaker, "en-us"), text) for text in texts]
    return [("espeak", speaker, Speech(noise.levelled(speech.pcm), speech.words)) for speech in speeches]


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts of synthesised speech and one of people for training, one of people held out."""
    folder = tmp_path_factory.mktemp("bank")
    for number, texts in enumerate((SYNTHESISED[:2], SYNTHESISED[2:])):
        write_part(folder / f"synthesised-train-{number:04d}", speak(texts, "m3"))
    write_part(folder / "people-train-commands", speak(SPOKEN, "f2"))
    write_part(folder / "people-heldout-commands", speak(HELDOUT, "f5"))
    return folder


@pytest.fixture
def quiet_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reverberation, no gain, noise 80 dB below the voice."""
    dry = noise.Acoustics(0.0, 80.0, "white", np.ones(1, np.float32))
    monkeypatch.setattr(noise, "draw_acoustics", lambda rng, **kinds: dry)


def config(**changes: float) -> ListeningConfig:
    """Speech in every session and no gaps, unless told otherwise."""
    excerpts = {"excerpt_probability": 0.0, "synthesised_excerpt_probability": 0.0}
    settings = {"quiet_probability": 0.0, "gap_probability": 0.0, **excerpts, **changes}
    return ListeningConfig(num_turns=TURNS, source_shares=SHARES, **settings)


def drawn(source: Listening, count: int, seed: int = 0) -> list[Practice]:
    rng = np.random.default_rng(seed)
    return [source.draw(rng) for _ in range(count)]


def texts_of(sessions: list[Practice]) -> set[str]:
    return {word.text for session in sessions for word in session.words}


def test_the_same_seed_gives_the_same_sessions(bank: Path) -> None:
    first, second, other = (
        drawn(Listening(bank, "train", ListeningConfig(num_turns=TURNS)), 6, seed) for seed in (1, 1, 2)
    )
    assert [(session.words, session.gaps) for session in first] == [(one.words, one.gaps) for one in second]
    assert all(np.array_equal(one.user, again.user) for one, again in zip(first, second, strict=True))
    assert not any(np.array_equal(one.user, another.user) for one, another in zip(first, other, strict=True))


def test_a_session_is_dense_speech_of_the_split(bank: Path) -> None:
    wanted: dict[Split, set[str]] = {
        "train": {word for text in (*SYNTHESISED, *SPOKEN) for word in text.split()},
        "heldout": set(HELDOUT),
    }
    for split, words in wanted.items():
        sessions = drawn(Listening(bank, split, config()), 20)
        assert texts_of(sessions) == words
        for session in sessions:
            assert session.user.shape == (TURNS * TURN_SAMPLES,) and session.user.dtype == np.float32
            assert np.abs(session.user).max() <= 1.0 and not session.gaps
            assert all(0.0 <= word.start_ms < word.end_ms < TURNS * TURN_MS for word in session.words)
            assert list(session.words) == sorted(session.words, key=lambda word: word.start_ms)
        spoken_ms = sum(word.end_ms - word.start_ms for session in sessions for word in session.words)
        assert spoken_ms > 0.25 * len(sessions) * TURNS * TURN_MS


def test_sources_come_as_often_as_their_shares_say(bank: Path) -> None:
    shares = {"synthesised": 0.0, "commands": 1.0, "natives": 5.0}
    only_people = ListeningConfig(num_turns=TURNS, source_shares=shares, quiet_probability=0.0)
    assert texts_of(drawn(Listening(bank, "train", only_people), 20)) == set(SPOKEN), "natives are not in the bank"


def test_a_corpus_that_no_share_names_is_heard_too(bank: Path, tmp_path: Path) -> None:
    for part in bank.iterdir():
        (tmp_path / part.name).symlink_to(part)
    write_part(tmp_path / "people-train-my-own-2", speak(("goodbye",), "f4"))
    (tmp_path / "people-train-half.partial").mkdir()
    listening = Listening(tmp_path, "train", config())
    assert listening.sources == ("synthesised", "commands", "my-own-2")
    assert "goodbye" in texts_of(drawn(listening, 10))
    assert "goodbye" not in texts_of(drawn(Listening(tmp_path, "train", config(other_share=0.0)), 10))


@pytest.mark.usefixtures("quiet_room")
@pytest.mark.parametrize(("uneven_probability", "excerpt_probability"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_words_lie_where_the_sound_is(bank: Path, uneven_probability: float, excerpt_probability: float) -> None:
    excerpts = {"excerpt_probability": excerpt_probability, "synthesised_excerpt_probability": excerpt_probability}
    changes = {"uneven_probability": uneven_probability, **excerpts}
    source = Listening(bank, "train", config(**changes))
    for session in drawn(source, 8):
        power = np.square(session.user.astype(np.float64))
        inside = np.zeros(len(power), bool)
        for word in session.words:
            span = slice(int(word.start_ms * 16), int(word.end_ms * 16))
            inside[span] = True
            assert power[span].mean() > (0.05 * noise.SPEECH_RMS) ** 2, f"{word} is silent"
        # A word that the session's end cuts off has no label.
        last = int(session.words[-1].end_ms * 16)
        assert power[:last][inside[:last]].sum() > 0.97 * power[:last].sum()
        assert power[:last][~inside[:last]].mean() < (0.2 * noise.SPEECH_RMS) ** 2


def test_an_excerpt_is_a_few_words_in_a_row_of_a_longer_utterance(bank: Path) -> None:
    longer = [text.split() for text in SYNTHESISED if len(text.split()) > EXCERPT_WORDS]
    within = {tuple(text[at : at + count]) for text in longer for count in (1, 2, 3) for at in range(len(text))}
    whole = {tuple(text.split()) for text in (*SYNTHESISED, *SPOKEN)}
    for probability, expected in ((1.0, within | (whole - {tuple(text) for text in longer})), (0.0, whole)):
        changes = {"excerpt_probability": probability, "synthesised_excerpt_probability": probability}
        source = Listening(bank, "train", config(**changes, tape_spread=0.0))
        rng = np.random.default_rng(0)
        said = {tuple(word.text for word in source._utterance(rng).words) for _ in range(200)}
        assert said <= expected and len(said) > len(expected) // 2
    assert all(word.start_ms >= 0.0 for word in source._utterance(rng).words)


def test_speech_has_another_speed_every_time(bank: Path) -> None:
    sessions = drawn(Listening(bank, "train", config(uneven_probability=0.0)), 30)
    lengths_ms = [word.end_ms - word.start_ms for one in sessions for word in one.words if word.text == "marvin"]
    assert len(lengths_ms) > 5 and np.std(np.log(lengths_ms)) == pytest.approx(0.1, abs=0.05)


def test_gaps_are_silent_and_nothing_else_is(bank: Path) -> None:
    sessions = drawn(Listening(bank, "train", config(gap_probability=1.0)), 40)
    for session in sessions:
        turns = session.user.reshape(TURNS, TURN_SAMPLES)
        assert {turn for turn in range(TURNS) if not turns[turn].any()} == session.gaps
        assert session.gaps
    lengths = [len(session.gaps) for session in sessions]
    assert min(lengths) <= 5 and max(lengths) >= 10, "single turns, and long stretches"


def test_some_sessions_are_without_speech(bank: Path) -> None:
    sessions = drawn(Listening(bank, "train", config(quiet_probability=0.3)), 60)
    quiet = [session for session in sessions if not session.words]
    assert 9 <= len(quiet) <= 27
    assert all(session.user.any() for session in quiet), "there is noise"


@pytest.mark.usefixtures("quiet_room")
def test_recorded_sounds_and_far_voices_are_mixed_in(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for index in range(8):
        record(tmp_path / f"sounds/rain/{index}.opus", rng.uniform(-0.2, 0.2, 16_000).astype(np.float32))
        record(tmp_path / f"speech/read/{index}.opus", synthesise(Voice("", "espeak", "m1", "en"), "far away").pcm)
    loud = noise.Acoustics(0.0, 5.0, "recording", np.ones(1, np.float32))
    monkeypatch.setattr(noise, "draw_acoustics", lambda rng, **kinds: loud)
    sessions = drawn(Listening(bank, "train", config(quiet_probability=1.0), tmp_path), 12)
    levels_db = [20 * np.log10(noise.rms(session.user) / noise.SPEECH_RMS) for session in sessions]
    assert {round(level) for level in levels_db} == {-5, -15}, "sounds at the session's level, far voices below it"


def test_a_bank_without_utterances_of_the_split_is_named(tmp_path: Path) -> None:
    write_part(tmp_path / "people-train-commands", speak(SPOKEN[:1], "m3"))
    with pytest.raises(InputError, match="no utterances of the split heldout there"):
        Listening(tmp_path, "heldout", config())
    with pytest.raises(InputError, match="no utterances of the split train there"):
        Listening(tmp_path / "nowhere", "train", config())
