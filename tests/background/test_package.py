"""A context package is bounded whatever goes in, and what is read back is what was written."""

from __future__ import annotations

import io
import time
import wave
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.background.package import (
    MAX_PACKAGE_BYTES,
    MAX_PICTURES,
    MAX_SOUND_MS,
    ContextPackage,
    Line,
    OpenJob,
    OpenTimer,
    Picture,
    build_package,
    decode_package,
)
from microturn.errors import InputError
from microturn.media.wire import MAX_PICTURE_BYTES

ANY_TEXT = st.builds(
    lambda text, times: text * times,
    st.text(alphabet=st.characters(), min_size=1, max_size=20),
    st.integers(0, 2_000),
)
TIMES = st.integers(0, 10_000_000)
LINES = st.lists(
    st.builds(Line, st.sampled_from(["user", "model"]), ANY_TEXT, TIMES, TIMES, st.booleans(), ANY_TEXT), max_size=40
)
PICTURES = st.lists(
    st.builds(
        lambda size, at_ms: Picture("image/png", b"\x89PNG\r\n\x1a\n" + bytes(size), at_ms),
        st.sampled_from([0, 1000, MAX_PICTURE_BYTES - 8, MAX_PICTURE_BYTES + 1]),
        TIMES,
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(
    task=ANY_TEXT,
    lines=LINES,
    times=st.integers(1, 30),
    instructions=st.lists(ANY_TEXT, max_size=20),
    labels=st.lists(ANY_TEXT, max_size=40),
    seconds=st.floats(0, 40),
    pictures=PICTURES,
)
def test_a_package_is_bounded_and_reads_back(
    task: str,
    lines: list[Line],
    times: int,
    instructions: list[str],
    labels: list[str],
    seconds: float,
    pictures: list[Picture],
) -> None:
    lines = lines * times
    sound = np.full(int(seconds * 16_000), np.nan, np.float32)
    try:
        package = build_package(
            job="j" * times * 100,
            task=task,
            at_ms=50_000,
            lines=lines,
            instructions=instructions,
            timers=[OpenTimer(label, 1) for label in labels],
            jobs=[OpenJob(label, label, label) for label in labels],
            sound=sound,
            pictures=pictures,
        )
    except InputError as error:
        assert "has no task" in str(error)
        return
    encoded = package.encode()
    assert len(encoded) <= MAX_PACKAGE_BYTES
    assert decode_package(encoded) == package
    assert len(package.lines) + package.left_out.lines == len(lines)
    if package.lines:
        assert (package.lines[-1].start_ms, package.lines[-1].who) == (lines[-1].start_ms, lines[-1].who)
    assert len(package.jobs) + package.left_out.jobs == len(labels)
    assert (package.sound is not None) == bool(len(sound))


def test_the_largest_package_stays_below_its_bound() -> None:
    wide = "\N{GRINNING FACE}" * 5_000
    package = build_package(
        job=wide,
        task=wide,
        at_ms=2**53,
        lines=[Line("user", wide, 2**53, 2**53, True, wide)] * 500,
        instructions=[wide] * 30,
        timers=[OpenTimer(wide, 2**53, 2**53)] * 50,
        jobs=[OpenJob(wide, wide, wide)] * 50,
        sound=np.zeros(16_000 * 60, np.float32),
        pictures=[Picture("image/jpeg", b"\xff\xd8\xff" + bytes(MAX_PICTURE_BYTES - 3), 2**53)] * 5,
    )
    assert MAX_PACKAGE_BYTES * 0.8 < len(package.encode()) <= MAX_PACKAGE_BYTES
    assert decode_package(package.encode()) == package


def test_the_newest_is_kept_and_the_rest_is_counted() -> None:
    lines = [Line("user", f"line {number} " + "x" * 1000, number * 200, number * 200 + 200) for number in range(300)]
    package = build_package(
        job="a",
        task="sum up",
        at_ms=60_000,
        lines=lines,
        sound=np.linspace(-1, 1, 20 * 16_000, dtype=np.float32),
        pictures=[Picture.of(np.full((90, 160, 3), 40 * n, np.uint8), n * 200) for n in range(5)],
    )
    assert package.lines[-1] == lines[-1] and package.lines == tuple(lines[-len(package.lines) :])
    assert package.left_out.lines == 300 - len(package.lines) > 0
    assert [one.at_ms for one in package.pictures] == [400, 600, 800] and package.left_out.pictures == 5 - MAX_PICTURES
    assert package.sound is not None and package.sound.start_ms == 60_000 - MAX_SOUND_MS
    with wave.open(io.BytesIO(package.sound.wav)) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 16 * MAX_SOUND_MS)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert samples[-1] == 32767 and samples[0] == pytest.approx(-0.5 * 32767, abs=2)


def test_what_was_cut_off_is_not_said() -> None:
    line = Line("model", "The answer is", 1000, 2000, unheard=" forty two.")
    (kept,) = build_package(job="a", task="x", at_ms=3000, lines=[line]).lines
    assert (kept.text, kept.unheard) == ("The answer is", " forty two.")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"task": ""}, "length >= 1"),
        ({"format": 2}, "Invalid enum value 2"),
        ({"secret": 1}, "unknown field `secret`"),
        ({"at_ms": -1}, ">= 0"),
        ({"lines": [{"who": "server", "text": "x", "start_ms": 0, "end_ms": 0}]}, "Invalid enum value 'server'"),
        ({"lines": [{"who": "user", "text": "x" * 2000, "start_ms": 0, "end_ms": 0}] * 100}, "more than 24000"),
        ({"instructions": ["x" * 3000] * 2}, "more than 4000"),
        ({"sound": {"wav": "AAAA", "start_ms": 0, "end_ms": 0}}, "no WAV file"),
        ({"sound": {"wav": "not base64!", "start_ms": 0, "end_ms": 0}}, "base64"),
        ({"pictures": [{"media_type": "image/png", "data": "AAAA", "at_ms": 7}]}, "at 7 ms is no image/png"),
        ({"pictures": [{"media_type": "text/html", "data": "AAAA", "at_ms": 7}]}, "Invalid enum value 'text/html'"),
    ],
)
def test_a_package_of_another_form_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"job": "a", "task": "think", "at_ms": 0}
    assert decode_package(msgspec.json.encode(good)) == ContextPackage("a", "think", 0)
    with pytest.raises(InputError, match=message):
        decode_package(msgspec.json.encode(good | change))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b" " * (MAX_PACKAGE_BYTES + 1)])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="context package"):
        decode_package(data)


def test_a_package_is_built_within_a_tenth_of_a_turn() -> None:
    rng = np.random.default_rng(0)
    pictures = [Picture.of(rng.integers(0, 255, (360, 640, 3), np.uint8), n) for n in range(3)]
    lines = [Line("user", "word " * 20, n, n) for n in range(1000)]
    sound = rng.standard_normal(16_000 * 15).astype(np.float32) * 0.1
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        build_package(job="a", task="x", at_ms=1, lines=lines, sound=sound, pictures=pictures).encode()
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.02
