"""The vocoder's losses: its own voice from frames, without a user, a text or any pretrained part.

The pitch network learns from the pitch of the sound (``train.voice``); the filters learn by ear, from spectra of
several resolutions (Yamamoto et al. 2020, "Parallel WaveGAN", section 2.2) and log-mel, with the true pitch as source,
so that harmonics fall on harmonics from the first step.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from microturn.media.mel import FFT_SIZE, HOP_SAMPLES, LOG_CEIL, LOG_FLOOR, WINDOW_SAMPLES
from microturn.model.vocoder import FFT_SAMPLES, Vocoder, overlap_add
from microturn.train.batch import Head, WaveTargets

# Shapes: B rows, H samples, F hops, M mel bands, N bins of a spectrum.

STFT_SIZES = (128, 384, 1024)
MAGNITUDE_FLOOR = 2e-4
LEAST_NORM = 0.05
"""Of a row's spectrum: a row that is all but silent is not asked for its own precision."""
MODEL_ERROR = 0.01


def vocoder_losses(vocoder: Vocoder, wave: WaveTargets, filters_NM: Tensor) -> dict[Head, Tensor]:
    """Losses by head, summed over rows, or over frames for pitch and voicing. ``filters_NM`` as ``mel_filters``."""
    rows = len(wave.mel_BFM)
    log_pitch, voicing, _ = vocoder.pitch(wave.mel_BFM, vocoder.pitch.initial_past(rows, wave.mel_BFM))
    state = replace(vocoder.initial_state(rows), phase_B=wave.phase_B, position_B=wave.position_B)
    spectra, _ = vocoder.spectra(wave.mel_BFM, wave.log_pitch_BF.double(), wave.voiced_BF.double(), state)
    pulses, _ = overlap_add(torch.fft.irfft(spectra.pulses_BFH, FFT_SAMPLES), state.tail_BS)
    hiss, _ = overlap_add(torch.fft.irfft(spectra.hiss_BFH, FFT_SAMPLES), state.tail_BS)
    made = pulses + hiss
    return {
        Head.SPECTRUM: spectral_loss(made, wave.wave_BH).sum(),
        Head.MEL: mel_loss(made, wave.wave_BH, filters_NM).sum(),
        Head.NOISE: noise_loss(pulses, spectra.noise_BFH, wave.wave_BH).sum(),
        Head.PITCH: ((log_pitch - wave.log_pitch_BF).abs() * wave.voiced_BF).sum(),
        Head.VOICING: functional.binary_cross_entropy_with_logits(voicing, wave.voiced_BF, reduction="sum"),
    }


def spectral_loss(wave_BH: Tensor, target_BH: Tensor) -> Tensor:
    """Mean over resolutions of log-magnitude L1 and spectral convergence (Arik et al. 2018, section 2.2), (B,)."""
    total_B = wave_BH.new_zeros(len(wave_BH))
    for size in STFT_SIZES:
        made, wanted = _magnitudes(wave_BH, size), _magnitudes(target_BH, size)
        logs = torch.log(made + MAGNITUDE_FLOOR) - torch.log(wanted + MAGNITUDE_FLOOR)
        distance_B, norm_B = (made - wanted).flatten(1).norm(dim=1), wanted.flatten(1).norm(dim=1)
        total_B = total_B + logs.abs().mean((1, 2)) + 0.5 * distance_B / norm_B.clamp(min=LEAST_NORM)
    return total_B / len(STFT_SIZES)


def mel_loss(wave_BH: Tensor, target_BH: Tensor, filters_NM: Tensor) -> Tensor:
    """L1 between the log-mels of two sounds, nats, (B,)."""

    def mel(x_BH: Tensor) -> Tensor:
        frames = x_BH.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * _window(WINDOW_SAMPLES, x_BH)
        frames = functional.pad(frames, (0, FFT_SIZE - WINDOW_SAMPLES))
        spectrum = torch.fft.rfft(frames)
        power = (spectrum.real**2 + spectrum.imag**2) @ filters_NM
        logs: Tensor = torch.log(power + math.exp(LOG_FLOOR))
        return logs.clamp(LOG_FLOOR, LOG_CEIL)

    return (mel(wave_BH) - mel(target_BH)).abs().mean((1, 2))


def noise_loss(pulses_BH: Tensor, noise_BFN: Tensor, target_BH: Tensor) -> Tensor:
    """How unlikely ``target_BH`` is, in nats a bin, (B,), as pulses of unknown phase in noise of known power.

    A spectral distance prefers a buzz to a hiss where the target is noise, since no two noises agree bin by bin; the
    likelihood of the target's magnitudes (Rice 1945, "Mathematical analysis of random noise", section 3.10) does not.
    ``pulses_BH`` is the harmonic part, ``noise_BFN`` the response of the noise's filter at each hop's end.
    """
    window = _window(FFT_SAMPLES, target_BH)
    harmonic, wanted = _framed_power(pulses_BH, window), _framed_power(target_BH, window)
    # Between two hops' ends the noise's power fades: weights of five frames around the middle of the window.
    times = torch.arange(FFT_SAMPLES, device=window.device) + 0.5 - FFT_SAMPLES // 2
    near = torch.arange(-2, 3, device=window.device)[:, None] * HOP_SAMPLES
    weights = ((1 - (times - near).abs() / HOP_SAMPLES).clamp(min=0) * window**2).sum(1)
    power = noise_BFN.real**2 + noise_BFN.imag**2
    num_frames = wanted.shape[1]
    padded = functional.pad(power, (0, 0, 1, 0))
    # A harmonic that is a tenth off in amplitude is no noise, and no bin may outweigh all others.
    noise = 3e-9 + MODEL_ERROR * (wanted + harmonic)
    for place, weight in enumerate(weights):
        noise = noise + weight * padded[:, place : place + num_frames]
    crossed = 2 * torch.sqrt((harmonic + 1e-12) * (wanted + 1e-12)) / noise
    likelihood = -torch.log(noise) - (torch.sqrt(harmonic + 1e-12) - torch.sqrt(wanted + 1e-12)) ** 2 / noise
    return -(likelihood + torch.log(torch.special.i0e(crossed))).mean((1, 2))


def _window(size: int, like: Tensor) -> Tensor:
    """A Hann window in which a sine of amplitude 1 has a peak of 1."""
    window = torch.hann_window(size, device=like.device)
    return window * (2.0 / window.sum())


def _framed_power(wave_BH: Tensor, window: Tensor) -> Tensor:
    """Power spectra ``(B, frames, FFT_SAMPLES // 2 + 1)`` of windows a hop apart."""
    spectrum = torch.fft.rfft(wave_BH.unfold(1, FFT_SAMPLES, HOP_SAMPLES) * window)
    power: Tensor = spectrum.real**2 + spectrum.imag**2
    return power


def _magnitudes(wave_BH: Tensor, size: int) -> Tensor:
    window = _window(size, wave_BH)
    spectrum = torch.stft(wave_BH, size, size // 2, window=window, center=False, return_complex=True)
    # A root's slope is endless at zero; silence is exactly zero.
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-12)
