"""The vocoder: streamed equals whole, causal, bounded; its source and filters do what their formulas say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from microturn.media.mel import HOP_SAMPLES, MEL_BANDS, TURN_FRAMES
from microturn.model.vocoder import (
    FFT_SAMPLES,
    Vocoder,
    VocoderConfig,
    VocoderState,
    minimum_phase,
    overlap_add,
    pulse_train,
)
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES

SMALL = VocoderConfig(width=32, num_blocks=2, harmonic_cepstra=40, noise_cepstra=20, pitch_width=16)


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    torch.manual_seed(1)
    model = Vocoder(SMALL).eval()
    with torch.no_grad():
        # Untrained heads hardly move: make pitch, voicing and level swing as in speech.
        model.pitch.head.weight.mul_(20.0)
        model.head.weight.mul_(3.0)
    return model


def random_mel(rows: int, frames: int, seed: int = 0) -> Tensor:
    """Mel ``(rows, frames, 80)`` over the whole range, as no speech moves but every number should."""
    return torch.rand(rows, frames, MEL_BANDS, generator=torch.Generator().manual_seed(seed)) * 4 - 2


@torch.no_grad()
def stream(model: Vocoder, mel: Tensor, sizes: list[int], state: VocoderState) -> tuple[Tensor, VocoderState]:
    """``mel`` through ``step`` in chunks of ``sizes`` frames, repeated to the end."""
    waves, start, turn = [], 0, 0
    while start < mel.shape[1]:
        size = sizes[turn % len(sizes)]
        wave, state = model.step(mel[:, start : start + size], state)
        waves.append(wave)
        start, turn = start + size, turn + 1
    return torch.cat(waves, 1), state


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_streamed_equals_whole_for_any_chunks(vocoder: Vocoder, sizes: list[int], seed: int) -> None:
    mel = random_mel(2, 120, seed)
    with torch.no_grad():
        whole = vocoder(mel)
    streamed, _ = stream(vocoder, mel, sizes, vocoder.initial_state(2))
    assert whole.shape == streamed.shape == (2, 120 * HOP_SAMPLES)
    assert whole.std() > 1e-2
    assert (whole - streamed).abs().max() < 1e-5 * max(1.0, whole.abs().max().item())


def test_a_minute_does_not_drift(vocoder: Vocoder) -> None:
    """The phase adds up over 300 turns and is the same as in one piece: harmonics still agree at the end."""
    mel = random_mel(1, 300 * TURN_FRAMES, 3)
    with torch.no_grad():
        whole = vocoder(mel)
    streamed, _ = stream(vocoder, mel, [TURN_FRAMES], vocoder.initial_state(1))
    last = slice(-5 * TURN_SAMPLES, None)
    assert (whole[:, last] - streamed[:, last]).abs().max() < 1e-5 * max(1.0, whole.abs().max().item())


@settings(max_examples=10, deadline=None)
@given(frame=st.integers(0, 59))
def test_sound_depends_on_no_later_frame(vocoder: Vocoder, frame: int) -> None:
    mel = random_mel(1, 60)
    changed = mel.clone()
    changed[:, frame:] = random_mel(1, 60, 9)[:, frame:]
    with torch.no_grad():
        before, after = vocoder(mel), vocoder(changed)
    edge = frame * HOP_SAMPLES
    assert torch.equal(before[:, :edge], after[:, :edge])
    assert not torch.equal(before[:, edge:], after[:, edge:])


def test_state_stays_of_one_size(vocoder: Vocoder) -> None:
    state = vocoder.initial_state(2)
    shapes = [(tensor.shape, tensor.dtype) for _, tensor in state.named()]
    for turn in range(30):
        _, state = stream(vocoder, random_mel(2, TURN_FRAMES, turn), [TURN_FRAMES], state)
        assert [(tensor.shape, tensor.dtype) for _, tensor in state.named()] == shapes
    assert all(torch.isfinite(torch.view_as_real(t) if t.is_complex() else t).all() for _, t in state.named())
    assert state.phase_B.min() >= 0.0 and state.phase_B.max() < 1.0
    # A view would keep its chunk alive; none may keep more than one turn's.
    assert max(tensor.untyped_storage().nbytes() for _, tensor in state.named()) < 1 << 20


def test_reset_rows_start_over_and_others_go_on(vocoder: Vocoder) -> None:
    mel = random_mel(3, 60)
    _, state = stream(vocoder, mel[:, :30], [30], vocoder.initial_state(3))
    reset = state.where(torch.tensor([False, True, False]), vocoder.initial_state(3))
    streamed, _ = stream(vocoder, mel[:, 30:], [30], reset)
    with torch.no_grad():
        whole, fresh = vocoder(mel)[:, 30 * HOP_SAMPLES :], vocoder(mel[:, 30:])
    bound = 1e-5 * max(1.0, whole.abs().max().item())
    assert (streamed[[0, 2]] - whole[[0, 2]]).abs().max() < bound
    assert (streamed[1] - fresh[1]).abs().max() < bound
    assert (streamed[1] - whole[1]).abs().max() > 100 * bound


def test_rows_do_not_see_each_other(vocoder: Vocoder) -> None:
    mel = random_mel(2, 40)
    with torch.no_grad():
        both, alone = vocoder(mel), vocoder(mel[1:])
    assert (both[1:] - alone).abs().max() < 1e-5 * max(1.0, both.abs().max().item())


@settings(max_examples=20, deadline=None)
@given(pitch_hz=st.floats(75.0, 400.0), start=st.floats(0.0, 1.0))
def test_pulse_train_is_a_sum_of_equal_harmonics(pitch_hz: float, start: float) -> None:
    time_s = torch.arange(4000, dtype=torch.float64) / SAMPLE_RATE_HZ
    phase = start + pitch_hz * time_s
    pulses = pulse_train(phase, torch.full_like(phase, pitch_hz))
    count = (SAMPLE_RATE_HZ / 2 - 50.0) / pitch_hz
    expected = torch.zeros_like(phase)
    for harmonic in range(1, math.floor(count) + 1):
        expected += torch.cos(2 * math.pi * harmonic * phase)
    whole = math.floor(count)
    expected += (count - whole) * torch.cos(2 * math.pi * (whole + 1) * phase)
    assert torch.allclose(pulses, expected * math.sqrt(2.0 / count), atol=1e-6)
    assert abs(pulses.square().mean().item() - 1.0) < 0.1


def test_minimum_phase_filter_matches_a_one_pole_resonator() -> None:
    """The cepstrum of ``1 / (1 - a z^-1)`` is ``a^n / n``: its response must come out with its phase."""
    pole = 0.9
    cepstrum = torch.tensor([0.0] + [pole**order / order for order in range(1, 150)])
    angle = torch.arange(FFT_SAMPLES // 2 + 1) * (2 * math.pi / FFT_SAMPLES)
    expected = 1 / (1 - pole * torch.polar(torch.ones_like(angle), -angle))
    assert torch.allclose(minimum_phase(cepstrum), expected.to(torch.complex64), atol=1e-4)


def test_overlap_add_matches_a_loop() -> None:
    pieces, tail = torch.randn(2, 7, FFT_SAMPLES), torch.randn(2, FFT_SAMPLES - HOP_SAMPLES)
    expected = np.zeros((2, 6 * HOP_SAMPLES + FFT_SAMPLES))
    expected[:, : FFT_SAMPLES - HOP_SAMPLES] += tail.numpy()
    for frame in range(7):
        expected[:, frame * HOP_SAMPLES : frame * HOP_SAMPLES + FFT_SAMPLES] += pieces[:, frame].numpy()
    sound, rest = overlap_add(pieces, tail)
    assert np.allclose(np.concatenate([sound, rest], 1), expected, atol=1e-5)
