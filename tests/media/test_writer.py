"""Outputs appear whole or not at all; what is written is read back."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from microturn.errors import MediaError
from microturn.media.reader import open_media
from microturn.media.writer import FilmWriter, PartFolder, WavWriter, atomic_folder, film_size
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def fill(folder: PartFolder) -> None:
    (folder.path / "a").write_text("new a")
    (folder.path / "b").write_text("new b")
    folder.commit(["a", "b"], stale=["c"])


def test_a_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "x" / "out") as folder:
        fill(folder)
        assert not (tmp_path / "x" / "out").exists()
    assert everything(tmp_path) == ["x", "x/out", "x/out/a", "x/out/b"]


def test_an_existing_folder_keeps_what_is_not_ours(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).write_text(f"old {name}")
    with atomic_folder(tmp_path) as folder:
        fill(folder)
        assert (tmp_path / "a").read_text() == "old a"
    assert contents(tmp_path) == {"a": "new a", "b": "new b", "d": "old d"}
    assert everything(tmp_path) == ["a", "b", "d"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MediaError])
def test_after_an_error_nothing_remains(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "x" / "out"
    with pytest.raises(error), atomic_folder(target) as folder:
        fill(folder)
        raise error
    assert everything(tmp_path) == []


def test_without_commit_nothing_appears(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old a")
    with atomic_folder(tmp_path) as folder:
        (folder.path / "a").write_text("new a")
    assert contents(tmp_path) == {"a": "old a"}
    assert everything(tmp_path) == ["a"]


def test_a_failure_between_two_files_puts_the_first_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old a")
    (tmp_path / "b").mkdir()
    with pytest.raises(MediaError, match="b is a folder"), atomic_folder(tmp_path) as folder:
        fill(folder)
    assert everything(tmp_path) == ["a", "b"]
    assert (tmp_path / "a").read_text() == "old a"


def test_a_failing_disk_puts_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_text(f"old {name}")
    rename, done = os.rename, 0

    def fails_at_the_fifth(source: Path, target: Path) -> None:
        nonlocal done
        done += 1
        if done == 5:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_at_the_fifth)
    with pytest.raises(MediaError, match="No space left on device"), atomic_folder(tmp_path) as folder:
        fill(folder)
    assert contents(tmp_path) == {"a": "old a", "b": "old b", "c": "old c"}
    assert everything(tmp_path) == ["a", "b", "c"]


def test_a_target_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "deep" / "out"):
        with pytest.raises(MediaError, match="^.*(is not a folder|cannot be written)"), atomic_folder(target):
            pytest.fail("the block must not run")
    assert contents(tmp_path) == {"file": "x"}


def test_wav_has_the_user_left_and_the_model_right(tmp_path: Path) -> None:
    left, right = (np.linspace(low, 1.2, 5000, dtype=np.float32) for low in (-1.0, 0.0))
    writer = WavWriter(tmp_path / "a.wav")
    writer.write(left[:3000], right[:3000])
    writer.write(left[3000:], right[3000:])
    writer.close()
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, SAMPLE_RATE_HZ)
        both = np.frombuffer(file.readframes(5001), np.int16).reshape(-1, 2)
    assert both.shape == (5000, 2)
    np.testing.assert_array_equal(both[:, 0], np.round(np.clip(left, -1, 1) * 32767))
    np.testing.assert_array_equal(both[:, 1], np.round(np.clip(right, -1, 1) * 32767))


def test_film_size() -> None:
    assert film_size((320, 240)) == (320, 240)
    assert film_size((1081, 1921)) == (720, 1280)
    assert film_size((3, 3)) == (16, 16)


def stereo_of(path: Path) -> Pcm:
    """(samples, 2) at 16 kHz, decoded without the reader."""
    resampler = av.AudioResampler("fltp", "stereo", SAMPLE_RATE_HZ)
    with av.open(str(path)) as container:
        pieces = [piece.to_ndarray() for one in container.decode(audio=0) for piece in resampler.resample(one)]
    pieces += [piece.to_ndarray() for piece in resampler.resample(None)]
    return np.concatenate(pieces, axis=1).T.astype(np.float32)


def test_film_shows_and_sounds_on_the_turn_clock(tmp_path: Path) -> None:
    writer = FilmWriter(tmp_path / "a.mp4", (99, 65))
    silence = np.zeros(TURN_SAMPLES, np.float32)
    loud = (0.5 * np.sin(np.arange(TURN_SAMPLES) * 0.2)).astype(np.float32)
    for turn in range(12):
        picture = np.full((65, 99, 3), 255 if turn == 4 else 0, np.uint8)
        writer.write(
            picture if turn in (0, 4, 5) else None,
            loud if turn == 3 else silence,
            loud if turn in (6, 7) else silence,
        )
    writer.close()
    source = open_media(tmp_path / "a.mp4")
    assert source.frame_size == film_size((99, 65))
    turns = list(source.iter_turns())
    bright = [index for index, one in enumerate(turns) if one.frame is not None and one.frame.mean() > 128]
    assert bright == [4]
    both = stereo_of(tmp_path / "a.mp4")[: 12 * TURN_SAMPLES]
    levels = np.abs(both).reshape(12, TURN_SAMPLES, 2).mean(axis=1) > 0.1
    assert np.flatnonzero(levels[:, 0]).tolist() == [3]
    assert np.flatnonzero(levels[:, 1]).tolist() == [6, 7]
