"""Training of the vocoder: pitch of known pulses, the noise likelihood, and a vowel voice learnt from nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file

from microturn.errors import InputError, WeightsError
from microturn.model.mel import FFT_SIZE, HOP_SAMPLES, WINDOW_SAMPLES, LogMel, log_mel, mel_filters, normalise_mel
from microturn.model.vocoder import DELAY_SAMPLES, FFT_SAMPLES, Vocoder, VocoderConfig
from microturn.train.vocoder import (
    VocoderTraining,
    draw_batch,
    noise_share,
    save_vocoder,
    track_pitch,
    train_vocoder,
    voice_clip,
)
from microturn.turn import SAMPLE_RATE_HZ, Pcm

Samples = NDArray[np.float64]

CONFIG = VocoderConfig(width=48, num_blocks=2, harmonic_cepstra=80, noise_cepstra=30, pitch_width=24, pitch_layers=2)
FORMANTS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))


def vowels(seed: int, seconds: float) -> Pcm:
    """Vowels of 150 to 300 ms with gliding pitch, hisses and pauses between them: a voice whose pitch is known."""
    rng = np.random.default_rng(seed)
    parts: list[Samples] = []
    while sum(len(part) for part in parts) < seconds * SAMPLE_RATE_HZ:
        length = int(rng.uniform(0.15, 0.3) * SAMPLE_RATE_HZ)
        first_hz, last_hz = rng.uniform(130, 230, 2)
        phase = np.cumsum(np.linspace(float(first_hz), float(last_hz), length)) / SAMPLE_RATE_HZ
        sound = np.diff(np.floor(phase), prepend=0.0)
        for formant_hz in FORMANTS_HZ[rng.integers(len(FORMANTS_HZ))]:
            sound = resonate(sound, formant_hz, 90.0)
        parts.append(0.3 * sound / np.abs(sound).max() * np.hanning(length) ** 0.2)
        hiss = np.diff(rng.standard_normal(int(rng.uniform(0.05, 0.1) * SAMPLE_RATE_HZ)))
        parts.append(0.02 * hiss * np.hanning(len(hiss)))
        parts.append(np.zeros(int(rng.uniform(0.05, 0.15) * SAMPLE_RATE_HZ)))
    pcm = np.concatenate(parts).astype(np.float32)
    return pcm[: len(pcm) // HOP_SAMPLES * HOP_SAMPLES]


def resonate(sound: Samples, centre_hz: float, width_hz: float) -> Samples:
    """Two-pole resonance, as a convolution with its impulse response."""
    order = np.arange(800)
    angle = 2 * np.pi * centre_hz / SAMPLE_RATE_HZ
    decay = np.exp(-np.pi * width_hz / SAMPLE_RATE_HZ * order)
    response = decay * np.sin(angle * (order + 1)) / np.sin(angle)
    return np.convolve(sound, response)[: len(sound)]


def griffin_lim(mel: LogMel, iterations: int = 32) -> Pcm:
    """The reference: the least-squares spectrum of the mel, and a phase by fast Griffin-Lim (Perraudin et al. 2013)."""
    filters = mel_filters().astype(np.float64)
    wanted = np.exp(mel.astype(np.float64))
    power = np.maximum(wanted @ np.linalg.pinv(filters), 1e-12)
    for _ in range(50):
        power *= ((wanted / np.maximum(power @ filters, 1e-12)) @ filters.T) / np.maximum(filters.sum(1), 1e-6)
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    magnitude = np.sqrt(power) * window.sum() / 2
    starts = np.arange(len(mel)) * HOP_SAMPLES

    def inverse(spectrum: Samples) -> Samples:
        wave = np.zeros(len(mel) * HOP_SAMPLES + WINDOW_SAMPLES - HOP_SAMPLES)
        weight = np.full_like(wave, 1e-2)
        for start, frame in zip(starts, np.fft.irfft(spectrum, FFT_SIZE)[:, :WINDOW_SAMPLES], strict=True):
            wave[start : start + WINDOW_SAMPLES] += frame * window
            weight[start : start + WINDOW_SAMPLES] += window**2
        return wave / weight

    spectrum = magnitude * np.exp(2j * np.pi * np.random.default_rng(0).random(magnitude.shape))
    last = np.zeros_like(spectrum)
    for _ in range(iterations):
        frames = np.lib.stride_tricks.sliding_window_view(inverse(spectrum), WINDOW_SAMPLES)[::HOP_SAMPLES]
        made = np.fft.rfft(frames[: len(mel)] * window, FFT_SIZE)
        spectrum, last = magnitude * np.exp(1j * np.angle(made + 0.99 * (made - last))), made
    return inverse(spectrum)[WINDOW_SAMPLES - HOP_SAMPLES :].astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(pitch_hz=st.floats(90.0, 350.0), formant_hz=st.floats(300.0, 2500.0))
def test_pitch_of_known_pulses(pitch_hz: float, formant_hz: float) -> None:
    time_s = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    pulses = np.diff(np.floor(pitch_hz * time_s), prepend=0.0)
    pcm = resonate(resonate(pulses, formant_hz, 100.0), 500.0, 200.0)
    log_pitch, voiced = track_pitch((0.3 * pcm / np.abs(pcm).max()).astype(np.float32), CONFIG)
    middle = slice(5, -5)
    assert voiced[middle].all()
    assert np.abs(np.exp(log_pitch[middle]) / pitch_hz - 1).max() < 0.01


def test_noise_and_silence_have_no_voice() -> None:
    rng = np.random.default_rng(0)
    for pcm in (0.1 * rng.standard_normal(8000), np.zeros(8000)):
        log_pitch, voiced = track_pitch(pcm.astype(np.float32), CONFIG)
        assert not voiced.any()
        assert np.isfinite(log_pitch).all()


def test_batch_lines_up_mel_target_and_pitch() -> None:
    """The target is the mel's own sound, two frames late, and the voicing is that of the frame being faded to."""
    clip = voice_clip(vowels(5, 3.0), CONFIG)
    training = VocoderTraining(num_rows=6, num_frames=100)
    batch = draw_batch([clip], training, np.random.default_rng(3))
    wave = batch.wave_BS.numpy()
    for row in range(6):
        mel = normalise_mel(log_mel(wave[row]))
        # Shifted back by the delay, the target's mel is the mel that went in, up to noise, blur and the first window.
        error = np.abs(mel[2 + 5 :] - batch.mel_BFM[row].numpy()[5:-2])
        assert np.median(error) < 0.15
        _, voiced = track_pitch(wave[row], CONFIG)
        # Pitch entry i of the wave is of its sample 160 i; the frame that is in full force there is i - 1.
        assert (voiced[5:-5] == batch.voiced_BF[row].numpy()[4:-6]).mean() > 0.9


@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_likelihood_is_best_at_the_true_noise(gain: float) -> None:
    noise = gain * torch.randn(8, 128 * HOP_SAMPLES, generator=torch.Generator().manual_seed(0))
    pulses = torch.zeros_like(noise)
    pulses[:, ::100] = 20.0 * gain
    bins = FFT_SAMPLES // 2 + 1

    def loss(guess: float) -> float:
        response = torch.full((8, 128, bins), gain * guess, dtype=torch.complex64)
        return noise_share(pulses, response, pulses + noise).item()

    losses = {guess: loss(guess) for guess in (0.7, 0.85, 1.0, 1.15, 1.4)}
    assert min(losses, key=lambda guess: losses[guess]) == 1.0
    response = torch.full((8, 128, bins), gain, dtype=torch.complex64)
    assert noise_share(0 * pulses, response, pulses + noise).item() > losses[1.0] + 0.1


def test_training_learns_a_voice(tmp_path: Path) -> None:
    """After 250 steps: right pitch, mel within a nat of Griffin-Lim's, silence in silence; the file gives the same."""
    clips = [voice_clip(vowels(seed, 4.0), CONFIG) for seed in range(6)]
    history: list[dict[str, float]] = []
    training = VocoderTraining(num_steps=250, num_rows=4, learning_rate=4e-3, warmup_steps=20)
    model = train_vocoder(clips, CONFIG, training, lambda _, losses: history.append(losses))
    assert history[-1]["spectrum"] < 0.6 * history[0]["spectrum"]

    pcm = vowels(100, 3.0)
    mel = normalise_mel(log_mel(pcm))
    with torch.no_grad():
        made = model(torch.from_numpy(mel)[None])[0].numpy()
        quiet = model(torch.full((1, 100, mel.shape[1]), -2.0))[0].numpy()
    target = np.concatenate([np.zeros(DELAY_SAMPLES, np.float32), pcm[:-DELAY_SAMPLES]])
    loud = log_mel(target) > -12
    error = np.abs(log_mel(made) - log_mel(target))[loud].mean()
    reference = np.abs(log_mel(griffin_lim(log_mel(target))) - log_mel(target))[loud].mean()
    assert error < reference + 1.0 < 0.4 * np.abs(log_mel(target) - log_mel(target).mean(0))[loud].mean()
    assert np.abs(quiet).max() < 5e-3

    wanted, voiced = track_pitch(target, CONFIG)
    got, voiced_too = track_pitch(made, CONFIG)
    both = (voiced * voiced_too).astype(bool)
    assert both.sum() > 0.9 * voiced.sum()
    assert np.median(np.abs(got - wanted)[both]) < 0.03

    save_vocoder(model, tmp_path / "v.safetensors")
    again = Vocoder(CONFIG).eval()
    again.load_state_dict(load_file(str(tmp_path / "v.safetensors")))
    with torch.no_grad():
        assert np.array_equal(again(torch.from_numpy(mel)[None])[0].numpy(), made)
    assert [path.name for path in tmp_path.iterdir()] == ["v.safetensors"]


def test_a_resumed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    clips = [voice_clip(vowels(0, 2.0), CONFIG)]
    training = VocoderTraining(num_steps=6, num_rows=2, num_frames=32, checkpoint_steps=4, warmup_steps=2)
    whole = train_vocoder(clips, CONFIG, training)
    path = tmp_path / "run.checkpoint"

    class Stopped(Exception):
        pass

    def stop(step: int, _: dict[str, float]) -> None:
        if step == 5:
            raise Stopped

    each = VocoderTraining(**{**training.__dict__, "report_steps": 1})
    with pytest.raises(Stopped):
        train_vocoder(clips, CONFIG, each, stop, path)
    resumed = train_vocoder(clips, CONFIG, each, None, path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    with pytest.raises(WeightsError, match="other settings"):
        train_vocoder(clips, CONFIG, training, None, path)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="run.checkpoint"):
        train_vocoder(clips, CONFIG, each, None, path)


def test_no_speech_is_an_error() -> None:
    with pytest.raises(InputError, match="no speech"):
        train_vocoder([], CONFIG, VocoderTraining())
    with pytest.raises(InputError, match="100 samples"):
        voice_clip(np.zeros(100, np.float32), CONFIG)
