"""The builder places what it is given where it says, and the labels agree with the sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.scenario import script
from microturn.scenario.generate import generate
from microturn.scenario.scenario import REPLY_PAUSE_MS, Scenario
from microturn.scenario.script import SAMPLES_PER_MS, Script, estimate_ms, plain_words, silent_speech, trimmed
from microturn.split import SPLITS, Split
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, TextIn, TextSource
from microturn.voices import noise
from microturn.voices.catalogue import synthesise, voices
from tests.assistant import word_pcm

with_assistant = pytest.mark.assistant


def builder(seed: int = 0, split: Split = "train") -> Script:
    made = Script(np.random.default_rng(seed), split, assistant=False)
    made.kind = "say"
    return made


@pytest.fixture
def quiet_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reverberation, no gain, noise 80 dB below the voice."""
    dry = noise.Acoustics(0.0, 80.0, "white", np.ones(1, np.float32))
    monkeypatch.setattr(noise, "draw_acoustics", lambda rng, **kinds: dry)


def energy(scenario: Scenario, from_ms: float, until_ms: float) -> float:
    part = scenario.user[max(0, int(from_ms * 16)) : int(until_ms * 16)].astype(np.float64)
    return float(np.sum(part**2))


@pytest.mark.usefixtures("quiet_room")
@pytest.mark.parametrize("family", ["say", "time", "cue", "free"])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_word_times_agree_with_the_energy(family: str, split: Split) -> None:
    for seed in range(3):
        scenario = generate(family, seed, split, assistant=False)
        total = energy(scenario, 0.0, scenario.num_turns * TURN_MS)
        spans = [*((word.start_ms, word.end_ms) for word in scenario.heard), *scenario.unlabelled_ms]
        inside = sum(energy(scenario, start_ms, end_ms) for start_ms, end_ms in spans)
        if scenario.heard:
            assert inside > 0.95 * total
        for word in scenario.heard:
            loudness = energy(scenario, word.start_ms, word.end_ms) / (word.end_ms - word.start_ms) / 16.0
            assert loudness > (0.02 * noise.SPEECH_RMS) ** 2, f"{word} is silent"


@pytest.mark.usefixtures("quiet_room")
@settings(max_examples=8, deadline=None)
@given(start_ms=st.floats(0.0, 3000.0), seed=st.integers(0, 1000))
def test_speech_lies_where_its_words_are(start_ms: float, seed: int) -> None:
    made = builder(seed)
    made.wait_until(start_ms)
    words = made.speak("red car")
    assert words[0].start_ms == pytest.approx(start_ms, abs=1.0)
    assert made.now_ms == words[-1].end_ms
    scenario = made.finish("say", 500.0, gap_probability=0.0)
    assert scenario.heard == words
    whole = energy(scenario, 0.0, scenario.num_turns * TURN_MS)
    assert energy(scenario, words[0].start_ms - 5.0, words[-1].end_ms + 35.0) > 0.99 * whole


def test_an_answer_waits_for_the_pause_and_for_its_own_end() -> None:
    made = builder()
    end_ms = made.speak("hello")[-1].end_ms
    made.answer("one two three", end_ms)
    made.answer("four", end_ms)
    scenario = made.finish("say", 300.0)
    first, second = scenario.said
    heard_ms = (first.turn + 1) * TURN_MS
    assert end_ms + REPLY_PAUSE_MS <= heard_ms < end_ms + REPLY_PAUSE_MS + TURN_MS
    assert second.turn == first.turn + first.num_turns
    assert scenario.num_turns > second.turn + second.num_turns
    assert [event.words for event in scenario.events] == ["one two three", "four"]
    assert [event.at_ms for event in scenario.events] == [heard_ms, (second.turn + 1) * TURN_MS]


def test_typed_text_comes_in_within_the_turn() -> None:
    made = builder()
    made.wait_until(450.0)
    made.answer_typed("say red", "red")
    assert made.now_ms == 600.0
    made.wait_until(650.0)
    made.answer_typed("say blue", "blue")
    scenario = made.finish("say", 300.0)
    assert [item.turn for item in scenario.said] == [3, 6], "the second waits for the first"
    assert [(event.at_ms, event.cause_ms) for event in scenario.events] == [(800.0, 600.0), (1400.0, 800.0)]
    assert scenario.texts == {2: (TextIn(TextSource.TYPED, "say red"),), 3: (TextIn(TextSource.TYPED, "say blue"),)}


def test_gaps_spare_words_that_matter_and_take_the_label_of_others() -> None:
    taken = 0
    for seed in range(12):
        made = builder(seed)
        needed = made.speak("say red car")
        made.pause(1000.0, 1000.0)
        loose = made.speak("table dog monday window yellow seven", matters=False)
        scenario = made.finish("say", 300.0, gap_probability=1.0)
        assert 1 <= len(scenario.gaps) <= 3
        for turn in scenario.gaps:
            lost = scenario.user[turn * TURN_SAMPLES : (turn + 1) * TURN_SAMPLES]
            assert not lost.any()
            assert (turn + 1) * TURN_MS <= needed[0].start_ms or turn * TURN_MS >= needed[-1].end_ms + REPLY_PAUSE_MS
        assert [word for word in scenario.heard if word in needed] == needed
        missing = [word for word in loose if word not in scenario.heard]
        assert scenario.unlabelled_ms == [(word.start_ms, word.end_ms) for word in missing]
        taken += len(missing)
    assert taken > 4


def test_trimmed_speech_starts_with_its_first_word() -> None:
    speech = trimmed(synthesise(voices("train")[0], "red car"), tail_ms=60.0)
    assert 0.0 <= speech.words[0].start_ms < 0.1
    assert len(speech.pcm) / 16.0 <= speech.words[-1].end_ms + 60.1


def test_speech_without_a_voice_has_the_words_and_the_planned_length() -> None:
    speech = silent_speech("b. a. t.")
    assert [word.text for word in speech.words] == ["b", "a", "t"] == plain_words("b. a. t.").split()
    assert len(speech.pcm) / 16.0 == estimate_ms("b. a. t.")


@with_assistant
def test_the_assistant_is_heard_from_the_turns_edge_on() -> None:
    for text in ("one", "say it again", "b. a. t."):
        speech = script.assistant_speech(text)
        levels = np.abs(speech.pcm[: SAMPLE_RATE_HZ // 5])
        assert levels.max() > 0.05 and speech.words[0].start_ms < 0.1


@with_assistant
def test_the_assistant_begins_every_word_at_a_turns_edge() -> None:
    """And a word sounds the same wherever it is said."""
    speech = script.assistant_speech("red, mountain and b.")
    assert [word.text for word in speech.words] == ["red", "mountain", "and", "b"]
    assert all(word.start_ms % TURN_MS < 0.1 for word in speech.words)
    start = round(speech.words[1].start_ms) * SAMPLE_RATE_HZ // 1000
    alone = script.assistant_speech("mountain").pcm
    np.testing.assert_array_equal(speech.pcm[start : start + len(alone)], alone)


@with_assistant
def test_words_of_the_assistant_touch() -> None:
    """A word is drawn out to the edge of its last turn, to half as long again at most, at its own pitch."""
    for token in ("a", "at", "seven", "mountain", "b.", "everything"):
        said = word_pcm(token)
        pcm, length_ms = script.on_turns(token)
        left_ms = len(pcm) / SAMPLES_PER_MS - length_ms
        drawn_out = length_ms * SAMPLES_PER_MS / len(said)
        assert len(pcm) % TURN_SAMPLES == 0 and len(pcm) >= len(said) + 60.0 * SAMPLES_PER_MS
        assert left_ms == pytest.approx(20.0, abs=0.1) or drawn_out == pytest.approx(1.5, abs=0.01)
        assert 0.99 < drawn_out < 1.51 and left_ms > 19.9
        power = [np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 16)) for sound in (said, pcm[: len(said)])]
        first, second = (int(np.argmax(one[300:1400])) + 300 for one in power)
        assert second == pytest.approx(first, rel=0.05)


def test_sessions_of_training_may_begin_and_end_with_a_long_silence() -> None:
    """Most of a live session is silence: what has been answered is not answered again in it."""
    for split in SPLITS:
        early = late = 0
        for seed in range(100):
            made = generate("time", seed, split, assistant=False, sound=False)
            early += made.heard[0].start_ms > 2_100.0
            last_ms = max(event.at_ms for event in made.events)
            late += made.num_turns * TURN_MS - max(last_ms, made.heard[-1].end_ms) > 8_000.0
        assert (10 <= early <= 35 and 5 <= late <= 25) if split == "train" else early == late == 0
    with_sound = [generate("say", seed, "train", assistant=False) for seed in range(12)]
    ends = [made.num_turns * TURN_MS - made.heard[-1].end_ms for made in with_sound]
    assert max(ends) > 8_000.0 and all(made.user[-TURN_SAMPLES:].any() for made in with_sound), "noise goes on"


def test_the_user_falls_silent_in_training_alone() -> None:
    for split in SPLITS:
        least, most = (15, 35) if split == "train" else (0, 0)
        made = builder(split=split)
        moved = 0
        for _ in range(100):
            before_ms = made.now_ms
            made.fall_silent()
            assert 0.0 <= made.now_ms - before_ms <= script.MAX_SILENT_MS
            moved += made.now_ms > before_ms
        assert least <= moved <= most
