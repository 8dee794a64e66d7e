"""What the camera shows is what the session sees, by either line, whatever the browser does on the way."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.server.conftest import running, small_weights
from tests.server.page.browser import FAKE_DEVICES, Browser
from tests.server.page.test_real_server import LINES
from tests.server.page.test_scenarios import film
from tests.server.test_serving import metric, until

pytestmark = pytest.mark.needs_browser

COLOURS = np.array(
    [
        [[0, 0, 0], [85, 85, 85], [170, 170, 170], [255, 255, 255]],
        [[200, 40, 40], [40, 160, 40], [40, 60, 200], [160, 60, 180]],
        [[220, 200, 60], [60, 190, 200], [230, 150, 170], [110, 70, 40]],
    ],
    np.uint8,
)
PATCH = 80
MOST_OFF = 6
"""Grey levels of a patch's middle. The page's JPEG files take 4 of them, its video 2."""


@pytest.mark.parametrize("line", LINES)
def test_every_colour_arrives_as_it_was_shown(line: str, tmp_path: Path) -> None:
    film(tmp_path / "camera.y4m", [COLOURS.repeat(PATCH, 0).repeat(PATCH, 1)])
    devices = [*FAKE_DEVICES, f"--use-file-for-fake-video-capture={tmp_path / 'camera.y4m'}"]
    with running(weights=small_weights(tmp_path / "weights"), record=tmp_path / "live") as port:
        with Browser(f"http://127.0.0.1:{port}/{LINES[line]}", args=devices) as page:
            page.click("#camera-button")
            page.until("document.querySelector('#status').textContent === 'Live'", 20)
            assert page.text("#figure-line") == line
            time.sleep(4)
            page.click("#end-button")
            page.until("document.querySelector('#status').textContent === 'Ended'")
            assert page.problems() == []
        until(lambda: metric(port, "microturn_active_sessions") == 0)
    files = sorted((tmp_path / "live").glob("*/frames/*.png"))
    assert len(files) > 8
    for file in files:
        with Image.open(file) as image:
            seen = np.asarray(image.convert("RGB")).astype(float)
        assert seen.shape == (120, 160, 3)
        middles = seen.reshape(3, 40, 4, 40, 3)[:, 10:30, :, 10:30].mean(axis=(1, 3))
        off = np.abs(middles - COLOURS)
        assert off.max() < MOST_OFF, (file.name, off.max(axis=2).round(1).tolist())
