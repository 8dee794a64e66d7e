"""Training of the vocoder: pitch of known pulses, the noise likelihood, and a vowel voice learnt from nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from microturn.errors import InputError
from microturn.media.mel import FFT_SIZE, HOP_SAMPLES, WINDOW_SAMPLES, LogMel, log_mel, mel_filters, normalise_mel
from microturn.model.vocoder import DELAY_SAMPLES, FFT_SAMPLES, Vocoder, VocoderConfig
from microturn.train.batch import Head, WaveTargets, collate
from microturn.train.tasks import TaskConfig, batches_of
from microturn.train.vocoder import noise_loss, spectral_loss, vocoder_losses
from microturn.train.voice import VoiceRows, clip_row, spoken, track_pitch, voice_clip
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from tests.train import tiny
from tests.train.tiny import VOCODER, resonate, vowels

Samples = NDArray[np.float64]


def crops(count: int, num_frames: int, seed: int, *, vary: bool = True) -> WaveTargets:
    clip, rng = voice_clip(vowels(5, 3.0), VOCODER), np.random.default_rng(seed)
    wave = collate("voice", [clip_row(clip, num_frames, rng, vary=vary) for _ in range(count)], 0, 0).wave
    assert wave is not None
    return wave


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
    log_pitch, voiced = track_pitch((0.3 * pcm / np.abs(pcm).max()).astype(np.float32), VOCODER)
    middle = slice(5, -5)
    assert voiced[middle].all()
    assert np.abs(np.exp(log_pitch[middle]) / pitch_hz - 1).max() < 0.01


def test_noise_and_silence_have_no_voice() -> None:
    rng = np.random.default_rng(0)
    for pcm in (0.1 * rng.standard_normal(8000), np.zeros(8000)):
        log_pitch, voiced = track_pitch(pcm.astype(np.float32), VOCODER)
        assert not voiced.any()
        assert np.isfinite(log_pitch).all()


def test_crops_line_up_mel_target_and_pitch() -> None:
    """The target is the mel's own sound, two frames late, and the voicing is that of the frame being faded to."""
    batch = crops(6, 100, 3)
    wave = batch.wave_BH.numpy()
    for row in range(6):
        mel = normalise_mel(log_mel(wave[row]))
        # Shifted back by the delay, the target's mel is the mel that went in, up to noise, blur and the first window.
        error = np.abs(mel[2 + 5 :] - batch.mel_BFM[row].numpy()[5:-2])
        assert np.median(error) < 0.15
        _, voiced = track_pitch(wave[row], VOCODER)
        # Pitch entry i of the wave is of its sample 160 i; the frame that is in full force there is i - 1.
        assert (voiced[5:-5] == batch.voiced_BF[row].numpy()[4:-6]).mean() > 0.9


def test_crops_that_do_not_vary_are_exact() -> None:
    exact, rough = crops(20, 64, 0, vary=False), crops(20, 64, 0)
    loudest = exact.wave_BH.abs().max()
    assert loudest <= np.abs(vowels(5, 3.0)).max() < rough.wave_BH.abs().max()
    assert float(exact.mel_BFM.min()) == -2.0
    assert len(set(exact.phase_B.tolist())) == len(set(exact.position_B.tolist())) == 20


def test_losses_of_rows_add_up() -> None:
    """A batch loses what its rows lose, so it does not matter how rows are spread over processes."""
    torch.manual_seed(0)
    vocoder, filters = Vocoder(VOCODER), torch.from_numpy(mel_filters())
    batch = crops(4, 48, 1)
    halves = batch.mapped(lambda tensor: tensor[:1]), batch.mapped(lambda tensor: tensor[1:])
    whole = vocoder_losses(vocoder, batch, filters)
    parts = [vocoder_losses(vocoder, half, filters) for half in halves]
    for head in (Head.SPECTRUM, Head.MEL, Head.NOISE, Head.PITCH, Head.VOICING):
        torch.testing.assert_close(parts[0][head] + parts[1][head], whole[head], rtol=1e-4, atol=1e-5)


def test_spectral_loss_is_none_for_the_same_and_bounded_for_silence() -> None:
    wave = crops(3, 64, 0).wave_BH
    assert spectral_loss(wave, wave).tolist() == [0.0] * 3
    assert (spectral_loss(0.5 * wave, wave) > 0.2).all()
    silence = torch.zeros(1, 64 * HOP_SAMPLES)
    assert float(spectral_loss(1e-4 * torch.randn(silence.shape), silence)) < 1.0


@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_likelihood_is_best_at_the_true_noise(gain: float) -> None:
    noise = gain * torch.randn(8, 128 * HOP_SAMPLES, generator=torch.Generator().manual_seed(0))
    pulses = torch.zeros_like(noise)
    pulses[:, ::100] = 20.0 * gain
    bins = FFT_SAMPLES // 2 + 1

    def loss(guess: float) -> float:
        response = torch.full((8, 128, bins), gain * guess, dtype=torch.complex64)
        return float(noise_loss(pulses, response, pulses + noise).mean())

    losses = {guess: loss(guess) for guess in (0.7, 0.85, 1.0, 1.15, 1.4)}
    assert min(losses, key=lambda guess: losses[guess]) == 1.0
    response = torch.full((8, 128, bins), gain, dtype=torch.complex64)
    assert float(noise_loss(0 * pulses, response, pulses + noise).mean()) > losses[1.0] + 0.1


def test_training_learns_a_voice() -> None:
    """After 250 steps: right pitch, mel within a nat of Griffin-Lim's, silence in silence."""
    stage = tiny.stage("voice", 250, "vocoder.", matrix_rate=None)
    stage = replace(stage, optim=replace(stage.optim, warmup_steps=20, decay_share=0.7))
    trainer = tiny.trainer(stage)
    task = TaskConfig(source=tiny.VowelRows(), tokens=256, uses=16)
    figures = [trainer.train_step(batch)[1] for batch in islice(batches_of("voice", task, tiny.materials(), (0,)), 250)]
    spectrum = [float(figure["voice/spectrum"][0] / figure["voice/spectrum"][2]) for figure in figures]
    assert np.mean(spectrum[-20:]) < 0.6 * spectrum[0]
    vocoder = Vocoder(VOCODER).eval()
    vocoder.load_state_dict(trainer.weights("vocoder"))
    check_voice(vocoder)


def check_voice(vocoder: Vocoder) -> None:
    pcm = vowels(100, 3.0)
    pcm = pcm[: len(pcm) // HOP_SAMPLES * HOP_SAMPLES]
    mel = normalise_mel(log_mel(pcm))
    with torch.no_grad():
        made = vocoder(torch.from_numpy(mel)[None])[0].numpy()
        quiet = vocoder(torch.full((1, 100, mel.shape[1]), -2.0))[0].numpy()
    target = np.concatenate([np.zeros(DELAY_SAMPLES, np.float32), pcm[:-DELAY_SAMPLES]])
    loud = log_mel(target) > -12
    error = np.abs(log_mel(made) - log_mel(target))[loud].mean()
    reference = np.abs(log_mel(griffin_lim(log_mel(target))) - log_mel(target))[loud].mean()
    assert error < reference + 1.0 < 0.4 * np.abs(log_mel(target) - log_mel(target).mean(0))[loud].mean()
    assert np.abs(quiet).max() < 5e-3
    wanted, voiced = track_pitch(target, VOCODER)
    got, voiced_too = track_pitch(made, VOCODER)
    both = (voiced * voiced_too).astype(bool)
    assert both.sum() > 0.9 * voiced.sum()
    assert np.median(np.abs(got - wanted)[both]) < 0.03


@pytest.mark.assistant
def test_the_vocoder_learns_from_words_of_the_assistant() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        clip = voice_clip(spoken(rng, 100), VocoderConfig())
        assert 0.3 < len(clip.pcm) / SAMPLE_RATE_HZ < 12.0
        assert 0.2 < clip.voiced.mean() < 0.99
        pitch_hz = np.exp(clip.log_pitch[clip.voiced > 0])
        assert 120 < np.median(pitch_hz) < 260
    rows = VoiceRows(num_frames=32).open(tiny.materials())(rng, 2)
    assert [row.wave is not None and row.wave.mel_BFM.shape == (1, 32, 80) for row in rows] == [True, True]


def test_no_speech_is_an_error() -> None:
    with pytest.raises(InputError, match="100 samples"):
        voice_clip(np.zeros(100, np.float32), VOCODER)
