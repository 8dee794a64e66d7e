"""The voice bank gives back what was put in, from files mapped into memory, and tells damaged parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.errors import CorpusError
from microturn.voices.bank import INDEX_NAME, SAMPLES_NAME, Part, write_part
from microturn.voices.speech import Speech, Word

STEP = 1.0 / 32767.0
"""Distance of two samples that a bank tells apart."""


def speeches(lengths: list[int]) -> list[tuple[str, str, Speech]]:
    """Noise, each utterance with two words and a speaker of its own."""
    rng = np.random.default_rng(0)
    return [
        (
            "espeak",
            f"speaker {index}",
            Speech(
                rng.uniform(-1.0, 1.0, length).astype(np.float32),
                (Word("one", 0.0, length / 48), Word("it's", length / 48, length / 16)),
            ),
        )
        for index, length in enumerate(lengths)
    ]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=6))
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    folder = tmp_path_factory.mktemp("bank") / "part"
    given_speeches = speeches(lengths)
    write_part(folder, given_speeches)
    part = Part(folder)
    assert len(part) == len(lengths)
    for index, (source, speaker, speech) in enumerate(given_speeches):
        assert (part.utterances[index].source, part.utterances[index].speaker) == (source, speaker)
        found = part.speech(index)
        assert found.words == speech.words
        assert found.pcm.dtype == np.float32 and found.pcm.shape == speech.pcm.shape
        np.testing.assert_allclose(found.pcm, speech.pcm, atol=STEP)


def test_sound_that_is_too_loud_is_clipped_and_not_wrapped(tmp_path: Path) -> None:
    loud = Speech(np.array([-3.0, -1.0, 0.0, 1.0, 3.0], np.float32), ())
    write_part(tmp_path / "part", [("commands", "one", loud)])
    np.testing.assert_array_equal(Part(tmp_path / "part").speech(0).pcm, np.array([-1, -1, 0, 1, 1], np.float32))


def test_samples_are_mapped_and_copied_only_when_asked_for(tmp_path: Path) -> None:
    write_part(tmp_path / "part", speeches([1000, 1000]))
    part = Part(tmp_path / "part")
    speech = part.speech(1)
    with (tmp_path / "part" / SAMPLES_NAME).open("r+b") as file:
        file.seek(2 * 500)
        file.write(np.zeros(1000, "<i2").tobytes())
    # The file is read where it lies: nobody had copied these samples. What was given out stays.
    assert not part.speech(0).pcm[500:].any() and not part.speech(1).pcm[:500].any()
    assert part.speech(1).pcm[500:].any() and speech.pcm[:500].any()
    speech.pcm[:] = 0.5
    assert not np.array_equal(part.speech(1).pcm, speech.pcm)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (INDEX_NAME, None),
        (INDEX_NAME, b""),
        (INDEX_NAME, b"\x93\x01\x02\x03"),
        (INDEX_NAME, b"this is no list of utterances"),
        (SAMPLES_NAME, None),
        (SAMPLES_NAME, b"\0" * 200),
        (SAMPLES_NAME, b"\x01\x02\x03"),
    ],
)
def test_a_damaged_part_is_named(name: str, content: bytes | None, tmp_path: Path) -> None:
    folder = tmp_path / "people-train-digits"
    write_part(folder, speeches([500]))
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(CorpusError, match=r"people-train-digits: not a part of a voice bank"):
        Part(folder)


def test_a_part_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Whoever is stopped half way leaves nothing that is taken for a part, and nothing that is in the way."""
    folder = tmp_path / "synthesised-train-0000"

    def interrupted() -> Iterator[tuple[str, str, Speech]]:
        yield from speeches([3000, 3000])
        assert not folder.exists()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_part(folder, interrupted())
    assert not folder.exists()
    write_part(folder, speeches([100]))
    assert len(Part(folder)) == 1 and len(Part(folder).speech(0).pcm) == 100
    assert [path.name for path in tmp_path.iterdir()] == ["synthesised-train-0000"]
