"""``microturn talk --mic`` with the default weights; of the sound card only the package ``sounddevice`` is replaced."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

import microturn
from microturn.cli import main
from microturn.media.reader import open_media
from microturn.turn import SAMPLE_RATE_HZ, TURN_SAMPLES, Pcm
from tests.cli.soundcard import FakeCard

SAMPLES = Path(microturn.__file__).parent / "samples"


def interrupt() -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def timer_sound() -> Pcm:
    """The request that the default weights answer."""
    return np.concatenate(
        [one.audio for one in open_media(SAMPLES / "timer.wav").iter_turns() if one.audio is not None]
    )


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Puts a card in, and makes an empty folder the working one."""
    monkeypatch.chdir(tmp_path)
    return lambda card: monkeypatch.setitem(sys.modules, "sounddevice", card)


def test_a_session_through_the_sound_card(plug: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(plug)
    # On a machine that is too busy a turn begins before its sound is there: a gap, that cuts the user's sound in two.
    for _ in range(4):
        card = FakeCard(timer_sound(), at_end=interrupt)
        plug(card)
        handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        assert main(["talk", "--mic", "--out", "out"]) == 0
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
        out = capsys.readouterr().out
        troubles = re.search(r"^gaps (\d+), overruns (\d+), sound lost by the microphone (\d+) times", out, re.M)
        assert troubles is not None
        if troubles.groups() == ("0", "0", "0"):
            break
    else:
        pytest.skip(f"the machine is too busy for a session in time: {out.splitlines()[-1]}")
    lines = [json.loads(line) for line in Path("out/turns.jsonl").read_text().splitlines()]
    assert [one["turn"] for one in lines] == list(range(len(lines)))
    # What the same weights say to the same sound from a file.
    assert "".join(one["say"] for one in lines).split()[0] == "sandwich"
    assert "timer" not in out and re.search(r"^ +\d+\.\ds .*sandwich$", out, re.MULTILINE)
    with wave.open("out/reply.wav") as file:
        both = np.frombuffer(file.readframes(10**7), "<i2").reshape(-1, 2).astype(np.float32) / np.float32(32768)
    assert len(both) == (len(lines) + 1) * TURN_SAMPLES
    # Both voices went through the card whole: the user's into the file, the model's into the loudspeaker.
    assert overlap(both[:, 0], card.sound) > 0.99
    played = np.concatenate(card.played)
    assert not np.isnan(played).any()
    first = next(one["turn"] for one in lines if one["speaking"])
    voice = both[(first + 1) * TURN_SAMPLES : (first + 3) * TURN_SAMPLES, 1]
    assert overlap(played, voice) > 0.99
    # And soon: not before its turn is over, and with the cushion no later than a turn after that.
    start_s = np.flatnonzero(played)[0] / SAMPLE_RATE_HZ
    assert (first + 1) * 0.2 - 0.05 <= start_s <= (first + 2) * 0.2 + 0.2
    assert sorted(path.name for path in Path("out").iterdir()) == ["reply.wav", "timeline.png", "turns.jsonl"]
    assert max(card.callback_ms) < 20


def overlap(sound: Pcm, part: Pcm) -> float:
    """How alike the best place of ``sound`` is to ``part``, 0 to 1."""
    size = 1 << (len(sound) + len(part)).bit_length()
    match = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(part, size)), size)
    at = int(match[: len(sound)].argmax())
    place = sound[at : at + len(part)]
    return float(place @ part[: len(place)] / (np.linalg.norm(place) * np.linalg.norm(part) + 1e-9))


def test_a_late_microphone_is_a_gap_and_typed_text_comes_in_its_turn(
    plug: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(plug)
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, 3 * SAMPLE_RATE_HZ).astype(np.float32)
    plug(FakeCard(noise, pauses=(0.9, 1.9), at_end=interrupt))
    assert main(["talk", "--mic", "--text", "0.4:say red", "--input-device", "headset", "--output-device", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("USB headset -> model -> Loudspeaker: ")
    gaps = re.search(r"^gaps (\d+)", out, re.MULTILINE)
    assert gaps is not None and 3 <= int(gaps[1]) <= 6
    lines = Path("microphone-reply/turns.jsonl").read_text().splitlines()
    assert len(lines) >= 14 and " red" in "".join(json.loads(line)["say"] for line in lines)


def test_json_is_one_object_a_turn_and_nothing_else(plug: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(plug)
    plug(FakeCard(np.zeros(SAMPLE_RATE_HZ, np.float32), at_end=interrupt))
    assert main(["talk", "--mic", "--json", "--out", "o"]) == 0
    assert capsys.readouterr().out == Path("o/turns.jsonl").read_text() != ""


def test_a_card_that_is_pulled_out_ends_the_session_and_its_files_are_there(
    plug: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(plug)
    plug(FakeCard(np.zeros(0, np.float32), gone_after_s=1.1))
    assert main(["talk", "--mic", "--out", "o"]) == 2
    assert capsys.readouterr().err == "microturn: USB headset, USB headset: one of them stopped\n"
    assert len(Path("o/turns.jsonl").read_text().splitlines()) >= 4


@pytest.mark.parametrize(
    ("card", "arguments", "message"),
    [
        (
            FakeCard(np.zeros(0, np.float32), names=()),
            [],
            "this machine has no default sound input: there is no sound card",
        ),
        (
            FakeCard(np.zeros(0, np.float32)),
            ["--input-device", "nothing"],
            "nothing: no such sound input, or several: --input-device is one of 0 USB headset; 1 Loudspeaker",
        ),
        (
            FakeCard(np.zeros(0, np.float32)),
            ["--output-device", "7"],
            "7: no such sound output, or several: --output-device is one of 0 USB headset; 1 Loudspeaker",
        ),
        (
            FakeCard(np.zeros(0, np.float32), rates_hz=(48_000,)),
            [],
            "USB headset: cannot record one channel of 16 kHz (Invalid sample rate [PaErrorCode -9997])",
        ),
    ],
)
def test_a_card_that_will_not_do(
    plug: object, capsys: pytest.CaptureFixture[str], card: FakeCard, arguments: list[str], message: str
) -> None:
    assert callable(plug)
    plug(card)
    assert main(["talk", "--mic", *arguments]) == 2
    assert capsys.readouterr() == ("", f"microturn: {message}\n")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "INPUT is missing"),
        (["a.wav", "--mic"], "a.wav: --mic takes the place of INPUT"),
        (["a.wav", "--input-device", "1"], "belong to --mic"),
    ],
)
def test_options_that_do_not_go_together(
    plug: object, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["talk", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_without_the_library(tmp_path: Path) -> None:
    """The package itself, on a machine where PortAudio cannot be found."""
    script = (
        "import ctypes.util, sys; ctypes.util.find_library = lambda name: None\n"
        "from microturn.cli import main; sys.exit(main(['talk', '--mic']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(microturn.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "needs PortAudio (PortAudio library not found): apt install libportaudio2" in done.stderr


SESSION = """
import os, signal, sys
import numpy as np
from tests.cli.soundcard import FakeCard
sys.modules["sounddevice"] = FakeCard(np.zeros(24000, np.float32), at_end=lambda: os.kill(os.getpid(), signal.SIGINT))
from microturn.cli import main
sys.exit(main(["talk", "--mic", "--out", "o"]))
"""


def test_a_terminal_has_a_line_that_moves(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    root = str(Path(microturn.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(
        [sys.executable, "-c", SESSION], cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        screen = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:
                break
            if not more:
                break
            screen += more
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())
    assert process.returncode == 0
    moments = re.findall(r" (\d+\.\d)s [.<>x_]{25} (?:quiet|you|model|both) +\d+ ms  gaps \d+  overruns \d+", text)
    assert moments[:4] == ["0.2", "0.4", "0.6", "0.8"]
    assert "heard:" in text and "said:" in text
