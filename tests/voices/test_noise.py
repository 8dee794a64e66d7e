"""Noises have the level and the colour they claim, rooms keep the direct sound where it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microturn.turn import SAMPLE_RATE_HZ
from microturn.voices import noise


@pytest.mark.parametrize("kind", noise.NOISE_KINDS)
@pytest.mark.parametrize("samples", [3200, 47 * 3200, 12_345])
def test_every_noise_has_unit_level_and_follows_the_generator(kind: str, samples: int) -> None:
    made = noise.background(np.random.default_rng(1), kind, samples)
    assert made.shape == (samples,) and made.dtype == np.float32
    assert noise.rms(made) == pytest.approx(1.0, rel=1e-3)
    assert np.array_equal(made, noise.background(np.random.default_rng(1), kind, samples))
    assert not np.array_equal(made, noise.background(np.random.default_rng(2), kind, samples))


@pytest.mark.parametrize(("exponent", "slope_db"), [(0.0, 0.0), (1.0, -3.0), (2.0, -6.0)])
def test_coloured_noise_falls_by_three_decibels_an_octave_per_exponent(exponent: float, slope_db: float) -> None:
    made = noise.coloured(np.random.default_rng(0), 20 * SAMPLE_RATE_HZ, exponent)
    power = np.abs(np.fft.rfft(made)) ** 2
    hertz = np.fft.rfftfreq(len(made), 1 / SAMPLE_RATE_HZ)
    density_db = [10 * np.log10(power[(hertz >= low) & (hertz < 2 * low)].mean()) for low in (100.0, 800.0)]
    assert (density_db[1] - density_db[0]) / 3.0 == pytest.approx(slope_db, abs=0.3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rooms_keep_the_direct_sound_first_and_strongest(seed: int) -> None:
    impulse = noise.draw_impulse(np.random.default_rng(seed))
    assert len(impulse) <= SAMPLE_RATE_HZ // 2 + 65
    assert np.sum(impulse.astype(np.float64) ** 2) == pytest.approx(1.0, rel=1e-4)
    direct = impulse[: SAMPLE_RATE_HZ // 250].astype(np.float64)
    # 3 dB above everything that comes later, give or take what tilt and low-pass do to either.
    assert np.sum(direct**2) > 0.6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), samples=st.integers(200, 40_000))
def test_a_room_is_a_convolution(seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    impulse = noise.draw_impulse(rng)[:400]
    pcm = rng.standard_normal(samples).astype(np.float32)
    expected = np.convolve(pcm.astype(np.float64), impulse.astype(np.float64))[:samples]
    assert np.allclose(noise.apply_room(pcm, impulse), expected, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_acoustics_stay_in_range(seed: int) -> None:
    drawn = noise.draw_acoustics(np.random.default_rng(seed))
    assert -20.0 <= drawn.gain_db <= 0.0 and 5.0 <= drawn.snr_db <= 40.0
    assert drawn.noise in (*noise.NOISE_KINDS, "babble")


def test_a_levelled_voice_has_the_level_of_speech() -> None:
    tone = np.sin(np.arange(8000) / 7.0).astype(np.float32) * 0.9
    assert noise.rms(noise.levelled(tone)) == pytest.approx(noise.SPEECH_RMS, rel=1e-4)
    assert not noise.levelled(np.zeros(100, np.float32)).any()


def test_babble_is_several_voices_at_unit_level() -> None:
    voices = [noise.far_voice("train", index) for index in range(3)]
    assert np.array_equal(voices[0], noise.far_voice("train", 0)) and not np.array_equal(voices[0], voices[1])
    made = noise.babble(np.random.default_rng(0), 32_000, voices)
    assert made.shape == (32_000,) and noise.rms(made) == pytest.approx(1.0, rel=1e-3)
