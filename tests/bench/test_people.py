"""Real people: what is chosen, how it is presented and scored; the whole part on a small folder of made recordings."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.audio.stream import AudioStream

import microturn.bench.people
from microturn.bench.events import SaidWord
from microturn.bench.heard import NOTHING_SAID, HeardScore
from microturn.bench.people import (
    CLIPS_PER_SESSION,
    COMMAND_WORDS,
    DIGITS,
    EVERYDAY_SOUNDS,
    GROUPS,
    KNOWN_WORDS,
    LEAD_MS,
    MICROPHONE_RMS,
    NATIVE_SENTENCES,
    NEW_SENTENCES,
    NOISE,
    NOISE_SECONDS,
    OTHER_SENTENCES,
    QUIET,
    TAIL_MS,
    WAKE_WORDS,
    WITHIN_MS,
    Spoken,
    choose,
    noises,
    score_people,
    score_session,
    sessions_of,
)
from microturn.errors import InputError
from microturn.language.lexicon import NUMBERS
from microturn.language.tokenizer import default_tokenizer
from microturn.model.config import ModelConfig
from microturn.model.hearing import Hearing
from microturn.scenario.scenario import HEAR_LAG_MS
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, TURN_SAMPLES, Pcm
from microturn.voices import people
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.noise import NOISE_KINDS, rms
from microturn.voices.people import Clip
from microturn.voices.recordings import file_split, load_pcm, speech_span

VOICE = Voice("", "espeak", "m3", "en-us")
BY_NAME = {group.name: group for group in GROUPS}
SPEAKERS = tuple(f"speaker{number}" for number in range(12))
SENTENCES = ("The cat sat on the mat.", "We call it bear", "A quixotic dog")


def write(path: Path, pcm: Pcm) -> None:
    """Encode ``pcm``; what the file's name says decides how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus" if path.suffix == ".opus" else "flac", rate=SAMPLE_RATE_HZ)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray((np.clip(pcm, -1, 1) * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def spoken_clip(text: str) -> Pcm:
    """``text`` in synthesised speech with 100 ms of near-silence around it."""
    quiet = np.random.default_rng(0).normal(0.0, 1e-4, SAMPLE_RATE_HZ // 10).astype(np.float32)
    return np.concatenate([quiet, synthesise(VOICE, text).pcm, quiet])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of every kind of recordings, in the documented layout."""
    folder = tmp_path_factory.mktemp("data")
    speech = folder / "speech"
    everything = ("yes", "stop", "three", "alexa", *SENTENCES)
    said = {text: spoken_clip(text.lower().rstrip(".")) for text in everything}
    for corpus, texts, suffix in (
        ("commands", ("yes", "stop", "yes"), "flac"),
        ("natives", SENTENCES[:1], "flac"),
        ("sentences", SENTENCES[1:], "opus"),
    ):
        rows = ["path\tspeaker\ttranscript\tseconds"]
        for speaker in SPEAKERS:
            for number, text in enumerate(texts):
                path = f"{speaker}/{number}.{suffix}"
                write(speech / corpus / path, said[text])
                rows.append(f"{path}\t{speaker}\t{text}\t1.00")
            if corpus == "natives":
                text = f"my number is {NUMBERS[SPEAKERS.index(speaker)]}"
                write(speech / corpus / speaker / "own.flac", spoken_clip(text))
                rows.append(f"{speaker}/own.flac\t{speaker}\t{text}\t1.00")
        (speech / corpus / "index.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for speaker in ("yweweler", "jackson"):
        write(speech / "digits" / speaker / f"3_{speaker}_0.flac", said["three"])
    for number in range(9):
        write(speech / "wake_words" / "alexa" / f"{number}.opus", said["alexa"])
        write(
            folder / "sounds" / "rain" / f"{number}.opus",
            np.random.default_rng(number).normal(0, 0.1, 16_000).astype(np.float32),
        )
    return folder


@pytest.fixture(scope="module")
def hearing() -> Hearing:
    """A small stack that knows nothing: it writes all the time."""
    torch.manual_seed(0)
    tokenizer = default_tokenizer()
    return Hearing(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size).hearing, tokenizer.vocab_size).eval()


@pytest.fixture
def short_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of every noise."""
    monkeypatch.setattr(microturn.bench.people, "NOISE_SECONDS", 2)


def heldout(data: Path, group: str) -> list[Clip]:
    return BY_NAME[group].heldout(list(people.clips(data)))


def written(*words: tuple[str, int]) -> list[SaidWord]:
    """Words by the time at which their turn is over."""
    return [SaidWord(text, time_ms // TURN_MS - 1) for text, time_ms in words]


YES_STOP = (Spoken(("yes",), 500.0, 2500.0), Spoken(("stop",), 3000.0, 5000.0))


@pytest.mark.parametrize(
    ("words", "right", "unsaid"),
    [
        ((("yes", 1400), ("stop", 3800)), 2, 0),
        ((), 0, 0),
        ((("yes", 1400), ("yes", 1600), ("stop", 5000)), 2, 1),
        ((("yes", 2600), ("stop", 3800)), 1, 1),  # too late, though before the next
        ((("yes", 3200), ("stop", 3800)), 1, 1),  # said of the next clip
        ((("yes", 400), ("stop", 5200)), 0, 2),  # before it was said; too late
        ((("stop", 1400), ("yes", 3800)), 0, 2),
    ],
)
def test_a_single_word_has_to_come_in_its_time(words: tuple[tuple[str, int], ...], right: int, unsaid: int) -> None:
    assert score_session(YES_STOP, written(*words)) == HeardScore(2, right, 2, unsaid)


def test_unknown_words_of_a_sentence_are_not_asked_for() -> None:
    assert "quixotic" not in KNOWN_WORDS
    sentence = [Spoken(("a", "quixotic", "dog"), 500.0, math.inf)]
    assert score_session(sentence, written(("a", 1000), ("dog", 9000))) == HeardScore(2, 2, 3, 0)
    assert score_session(sentence, written(("a", 1000), ("key", 1200), ("sock", 1200))) == HeardScore(2, 1, 3, 2)


def test_known_words_are_one_token() -> None:
    tokenizer = default_tokenizer()
    spelt = {word for word in KNOWN_WORDS if len(tokenizer.encode_word(word)) > 1}
    assert all("'" in word for word in spelt), "an apostrophe begins another token"


def clip(speaker: str, number: int) -> Clip:
    return Clip(Path(f"{speaker}/{number}.flac"), "commands", speaker, ("yes",))


def test_clips_are_spread_over_speakers_and_the_seed_chooses_them() -> None:
    group = BY_NAME[COMMAND_WORDS]
    found = [clip(speaker, number) for speaker, count in (("a", 50), ("b", 7), ("c", 2)) for number in range(count)]
    chosen = choose(found, 14, group, seed=0)
    assert Counter(one.speaker for one in chosen) == {"a": 6, "b": 6, "c": 2}
    assert len(set(chosen)) == 14
    assert choose(found, 14, group, seed=0) == chosen
    assert choose(found, 14, group, seed=1) != chosen
    assert len(choose(found, 1000, group, seed=0)) == len(found)
    assert choose([], 320, group, seed=0) == []


def test_single_words_of_a_speaker_come_one_after_the_other_over_faint_noise(data: Path) -> None:
    group = BY_NAME[COMMAND_WORDS]
    clips = choose(heldout(data, COMMAND_WORDS), 320, group, seed=0)
    sessions = list(sessions_of(group, clips, seed=0))
    assert len(sessions) == len({one.speaker for one in clips}), "three clips of each"
    for one in sessions:
        assert len(one.sound) % TURN_SAMPLES == 0
        assert sorted(spoken.words for spoken in one.spoken) == [("stop",), ("yes",), ("yes",)]
        start_ms = 0.0
        for spoken in one.spoken:
            assert spoken.start_ms == start_ms + LEAD_MS
            pcm = load_pcm(next(one.path for one in clips if one.words == spoken.words))
            assert spoken.due_ms == spoken.start_ms + speech_span(pcm)[1] + WITHIN_MS
            lead = one.sound[int(start_ms) * 16 : int(start_ms + LEAD_MS) * 16]
            assert rms(lead) == pytest.approx(MICROPHONE_RMS, rel=0.1)
            assert rms(one.sound[int(spoken.start_ms) * 16 :][: len(pcm)]) > 10 * MICROPHONE_RMS
            start_ms = spoken.start_ms + len(pcm) / 16 + TAIL_MS
        assert len(one.sound) >= start_ms * 16


def test_sessions_are_not_too_long(data: Path) -> None:
    group = BY_NAME[COMMAND_WORDS]
    path = heldout(data, COMMAND_WORDS)[0].path
    clips = [replace(clip("a", number), path=path) for number in range(CLIPS_PER_SESSION + 1)]
    assert [len(one.spoken) for one in sessions_of(group, clips, seed=0)] == [CLIPS_PER_SESSION, 1]


def test_sentences_come_alone_and_may_take_their_time(data: Path) -> None:
    group = BY_NAME[OTHER_SENTENCES]
    clips = heldout(data, OTHER_SENTENCES)
    sessions = list(sessions_of(group, clips, seed=0))
    assert [one.spoken[0].words for one in sessions] == [one.words for one in clips]
    assert all(len(one.spoken) == 1 and one.spoken[0].due_ms == math.inf for one in sessions)


@pytest.mark.parametrize("name", [group.name for group in GROUPS])
def test_whoever_writes_as_the_labels_say_hears_every_word(data: Path, name: str) -> None:
    group = BY_NAME[name]
    total = NOTHING_SAID
    for one in sessions_of(group, heldout(data, name), seed=0):
        words: list[SaidWord] = []
        for spoken in one.spoken:
            end_ms = spoken.due_ms - WITHIN_MS if group.strung else spoken.start_ms + 1000.0
            words += [SaidWord(word, int((end_ms + HEAR_LAG_MS) // TURN_MS)) for word in spoken.words]
        total += score_session(one.spoken, words)
    assert total.words > 0
    assert (total.share_right, total.unsaid) == (1.0, 0)


@pytest.mark.usefixtures("short_noise")
def test_the_whole_part(data: Path, hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []

    def load(path: Path) -> Pcm:
        loaded.append(path)
        return load_pcm(path)

    monkeypatch.setattr(microturn.bench.people, "load_pcm", load)
    advanced: list[int] = []
    tokenizer = default_tokenizer()
    found, quiet = score_people("tiny", hearing, tokenizer, data, 5, 1, lambda: advanced.append(1))
    own = {result.group: result for result in found if result.system == "tiny"}
    assert list(own) == [COMMAND_WORDS, DIGITS, WAKE_WORDS, NATIVE_SENTENCES, NEW_SENTENCES, OTHER_SENTENCES]
    for name, result in own.items():
        clips = heldout(data, name)
        assert result.num_clips == min(5, len(clips))
        expected = min(5, len({one.speaker for one in clips})) if BY_NAME[name].people_known else None
        assert result.num_people == expected
        assert result.score.unsaid > result.score.said, "it writes all the time"
    assert [result.system for result in found[:3]] == ["tiny", "nothing", 'always "yes"']
    nothing, constant = (result.score for result in found[1:3])
    assert (nothing.share_right, nothing.unsaid) == (0.0, 0)
    assert constant.right + constant.unsaid == constant.said == own[COMMAND_WORDS].num_clips
    assert [result.sound for result in quiet] == [QUIET, NOISE, EVERYDAY_SOUNDS]
    assert [result.seconds for result in quiet[:2]] == [2.0, 2.0 * len(NOISE_KINDS)]
    assert all(result.words_per_minute > 60.0 for result in quiet)
    assert score_people("tiny", hearing, tokenizer, data, 5, 1, lambda: None) == (found, quiet)

    training = {one.path for one in people.clips(data) if one.split == "train"}
    assert training
    assert training.isdisjoint(loaded)
    of_speech = {path for path in loaded if "sounds" not in path.parts}
    assert of_speech == {one.path for name in own for one in choose(heldout(data, name), 5, BY_NAME[name], seed=1)}
    assert {file_split(path) for path in loaded if "sounds" in path.parts} == {"heldout"}
    assert advanced


def test_speakers_are_disjoint_from_those_of_training(data: Path) -> None:
    found = list(people.clips(data))
    for group in GROUPS:
        tested = {one.speaker for one in choose(heldout(data, group.name), 320, group, seed=0)}
        trained = {one.speaker for one in found if one.corpus in group.corpora and one.split == "train"}
        assert tested
        assert trained
        assert tested.isdisjoint(trained)


def test_a_passage_that_training_reads_too_is_no_new_text(data: Path) -> None:
    everything, new = (heldout(data, name) for name in (NATIVE_SENTENCES, NEW_SENTENCES))
    assert {one.words for one in everything} > {one.words for one in new}
    assert len(new) == len({one.speaker for one in everything})
    assert all(one.words[:3] == ("my", "number", "is") for one in new)


def test_noises(data: Path, tmp_path: Path) -> None:
    found = dict(noises(data, seed=0))
    assert [len(pcm) for pcm in found[QUIET]] == [NOISE_SECONDS * SAMPLE_RATE_HZ]
    assert rms(found[QUIET][0]) == pytest.approx(MICROPHONE_RMS, rel=0.05)
    assert all(rms(pcm) == pytest.approx(10.0 ** (-30 / 20), rel=0.05) for pcm in found[NOISE])
    (everyday,) = found[EVERYDAY_SOUNDS]
    num_files = sum(file_split(path) == "heldout" for path in (data / "sounds").glob("*/*"))
    assert num_files > 0
    assert len(everyday) == pytest.approx(num_files * SAMPLE_RATE_HZ, abs=TURN_SAMPLES)
    assert list(dict(noises(tmp_path, seed=0))) == [QUIET, NOISE]


@pytest.mark.usefixtures("short_noise")
def test_a_folder_with_some_people_only(data: Path, hearing: Hearing, tmp_path: Path) -> None:
    digits = tmp_path / "speech" / "digits"
    digits.parent.mkdir()
    digits.symlink_to(data / "speech" / "digits")
    found, quiet = score_people("tiny", hearing, default_tokenizer(), tmp_path, 320, 0, lambda: None)
    assert {result.group for result in found} == {DIGITS}
    assert found[-1].system == f'always "{NUMBERS[3]}"'
    assert [result.sound for result in quiet] == [QUIET, NOISE]


def test_a_folder_without_people_is_said(hearing: Hearing, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recordings"):
        score_people("tiny", hearing, default_tokenizer(), tmp_path, 320, 0, lambda: None)
