"""Recordings: read from a folder made in the test (and, when MICROTURN_DATA is set, from the real one)."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from microturn.errors import InputError, MediaError
from microturn.scenario.lexicon import NUMBERS
from microturn.scenario.recordings import (
    HELDOUT_DIGIT_SPEAKER,
    WAKE_WORDS,
    Recording,
    digit_files,
    digit_recordings,
    file_split,
    load_pcm,
    load_speech,
    read_files,
    read_recordings,
    sound_files,
    sound_recordings,
    speech_span,
    wake_word_files,
    wake_word_recordings,
)
from microturn.scenario.scenario import Split
from microturn.scenario.voices import Voice, synthesise
from microturn.turn import SAMPLE_RATE_HZ, Pcm

DATA = os.environ.get("MICROTURN_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MICROTURN_DATA is not set")
VOICE = Voice("", "espeak", "m3", "en-us")
SPLITS: tuple[Split, Split] = ("train", "heldout")


def in_quiet(pcm: Pcm, before_ms: int, after_ms: int, noise: float) -> Pcm:
    """``pcm`` with stretches before and after it, over noise of the given RMS."""
    rng = np.random.default_rng(0)
    padded = np.concatenate([np.zeros(before_ms * 16, np.float32), pcm, np.zeros(after_ms * 16, np.float32)])
    return (padded + noise * rng.standard_normal(len(padded))).astype(np.float32)


def write(path: Path, pcm: Pcm, codec: str = "flac", rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Encode ``pcm`` with FFmpeg (the container follows the file's name)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        samples = (np.clip(pcm, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = 0
        resampler = av.AudioResampler(stream.format.name, "mono", rate_hz, frame_size=stream.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data folder of synthetic speech: 2 speakers x 2 digits, 2 wake words x 8 clips, 8 read, 8 sounds."""
    folder = tmp_path_factory.mktemp("data")
    for speaker in ("theo", HELDOUT_DIGIT_SPEAKER):
        for digit in (3, 7):
            write(folder / f"speech/digits/{speaker}/{digit}_0.flac", synthesise(VOICE, NUMBERS[digit]).pcm)
    for name in ("alexa", "smart_mirror"):
        clip = in_quiet(synthesise(VOICE, " ".join(WAKE_WORDS[name])).pcm, 700, 900, 0.002)
        for index in range(8):
            write(folder / f"speech/wake_words/{name}/{index}.opus", clip, "libopus", 48_000)
    sentence = synthesise(VOICE, "the green cat is in the garden").pcm
    for index in range(8):
        write(folder / f"speech/read/{index}.opus", sentence, "libopus", 48_000)
        write(folder / f"sounds/rain/{index}.opus", in_quiet(np.zeros(8000, np.float32), 0, 0, 0.1), "libopus", 48_000)
    return folder


def test_digits_are_split_by_speaker(data: Path) -> None:
    speaker_of: dict[Split, str] = {"train": "theo", "heldout": HELDOUT_DIGIT_SPEAKER}
    for split, speaker in speaker_of.items():
        found = list(digit_recordings(data, split))
        assert [(name, [word.text for word in speech.words]) for name, speech in found] == [
            (speaker, ["three"]),
            (speaker, ["seven"]),
        ]


@pytest.mark.parametrize("name", ["alexa", "smart_mirror"])
def test_wake_words_get_the_times_of_their_sound(data: Path, name: str) -> None:
    truth = synthesise(VOICE, " ".join(WAKE_WORDS[name])).words
    clips = [speech for split in SPLITS for folder, speech in wake_word_recordings(data, split) if folder == name]
    assert len(clips) == 8
    for speech in clips:
        assert tuple(word.text for word in speech.words) == WAKE_WORDS[name]
        length_ms = len(speech.pcm) * 1000 / SAMPLE_RATE_HZ
        assert 30.0 <= speech.words[0].start_ms <= 60.0
        assert 30.0 <= length_ms - speech.words[-1].end_ms <= 60.0
        shift_ms = speech.words[0].start_ms - truth[0].start_ms
        for found, wanted in zip(speech.words, truth, strict=True):
            assert found.start_ms == pytest.approx(wanted.start_ms + shift_ms, abs=90.0)
            assert found.end_ms == pytest.approx(wanted.end_ms + shift_ms, abs=90.0)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01])
def test_the_span_of_speech_is_found_in_quiet_and_in_noise(noise: float) -> None:
    speech = synthesise(VOICE, "computer")
    start_ms, end_ms = speech_span(in_quiet(speech.pcm, 800, 1000, noise))
    assert start_ms == pytest.approx(800 + speech.words[0].start_ms, abs=60.0)
    assert end_ms == pytest.approx(800 + speech.words[-1].end_ms, abs=60.0)


def test_a_click_apart_from_the_word_is_left_out() -> None:
    speech = synthesise(VOICE, "computer")
    pcm = in_quiet(speech.pcm, 1500, 500, 0.001)
    pcm[3200:3280] = 0.5
    assert speech_span(pcm)[0] > 1400.0


def test_splits_are_stable_and_disjoint(data: Path) -> None:
    for files, count in ((wake_word_files, 16), (read_files, 8), (sound_files, 8)):
        training, heldout = ({file.path for file in files(data, split)} for split in SPLITS)
        assert not training & heldout and len(training | heldout) == count
    shares = [file_split(Path(f"snowboy/{index}.opus")) for index in range(2000)]
    assert 0.22 <= shares.count("heldout") / len(shares) <= 0.28
    # The same on every machine and in every version: these were the splits when the weights were trained.
    assert [file_split(Path(f"/any/where/alexa/{index}.opus")) for index in range(6)] == [
        file_split(Path(f"alexa/{index}.opus")) for index in range(6)
    ]


def test_speech_without_words_and_sounds_are_decoded_whole(data: Path) -> None:
    read = [pcm for split in SPLITS for pcm in read_recordings(data, split)]
    sounds = [sound for split in SPLITS for sound in sound_recordings(data, split)]
    assert len(read) == 8 and len(sounds) == 8
    wanted = len(synthesise(VOICE, "the green cat is in the garden").pcm)
    assert all(pcm.dtype == np.float32 and abs(len(pcm) - wanted) < 800 for pcm in read)
    assert {kind for kind, _ in sounds} == {"rain"}
    assert all(0.05 < float(np.sqrt(np.square(pcm).mean())) < 0.2 for _, pcm in sounds)


def test_a_recording_without_words_has_no_word_times(data: Path) -> None:
    with pytest.raises(InputError, match="not known"):
        load_speech(read_files(data, "train")[0])


def test_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    for files in (digit_files, wake_word_files, read_files, sound_files):
        with pytest.raises(InputError, match=str(tmp_path)):
            files(tmp_path, "train")


def test_a_damaged_file_is_a_media_error(tmp_path: Path) -> None:
    bad = tmp_path / "3_0.flac"
    bad.write_bytes(b"this is not sound" * 100)
    with pytest.raises(MediaError, match="3_0.flac"):
        load_speech(Recording(bad, "theo", ("three",)))
    empty = tmp_path / "empty.wav"
    with wave.open(str(empty), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE_HZ)
    with pytest.raises(MediaError, match=r"empty\.wav"):
        load_pcm(empty)


@needs_data
def test_real_recordings_have_plausible_words() -> None:
    folder = Path(str(DATA))
    rng = np.random.default_rng(0)
    for files in (digit_files, wake_word_files):
        for split in SPLITS:
            found = files(folder, split)
            assert len(found) > 100
            for index in rng.choice(len(found), 10, replace=False):
                speech = load_speech(found[index])
                spoken_ms = speech.words[-1].end_ms - speech.words[0].start_ms
                assert 80.0 <= spoken_ms <= 2500.0, found[index].path
                assert all(word.end_ms > word.start_ms for word in speech.words)
