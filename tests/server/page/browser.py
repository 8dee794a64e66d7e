"""Debian's Chromium through playwright-core, driven from Python: one command, one answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

FOLDER = Path(os.environ.get("MICROTURN_BROWSER", Path.home() / ".cache" / "microturn" / "browser"))
CHROMIUM = shutil.which("chromium")
NODE = shutil.which("node")
DRIVER = Path(__file__).with_name("driver.mjs")
FAKE_DEVICES = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
LOUD_ENOUGH = ("--autoplay-policy=no-user-gesture-required",)


def installed() -> bool:
    """Whether ``scripts/setup browser`` was run here."""
    return bool(CHROMIUM and NODE and (FOLDER / "node_modules" / "playwright-core").is_dir())


@contextmanager
def served(*options: str) -> Iterator[str]:
    """The address of a server that runs as people start it."""
    command = [sys.executable, "-m", "microturn", "serve", "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip() + "/"
        finally:
            server.terminate()
            server.wait(30)


class Browser:
    """One page in one browser; the JavaScript ``before`` runs before the page's own. Every method raises
    ``AssertionError`` with Chromium's words if it cannot be done."""

    def __init__(
        self,
        url: str,
        *,
        args: Sequence[str] = FAKE_DEVICES,
        permissions: Sequence[str] = ("microphone", "camera"),
        before: str = "",
        **options: object,
    ) -> None:
        assert CHROMIUM and NODE
        command = [NODE, str(DRIVER), str(FOLDER), CHROMIUM]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            self._do("open", url=url, args=list(args), permissions=list(permissions), before=before, options=options)
        except BaseException:
            self.close()
            raise

    def _do(self, command: str, **rest: object) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"command": command, **rest}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser's driver ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def click(self, selector: str) -> None:
        self._do("click", selector=selector)

    def type(self, selector: str, text: str) -> None:
        self._do("type", selector=selector, text=text)

    def press(self, key: str) -> None:
        self._do("press", key=key)

    def evaluate(self, script: str) -> Any:
        return self._do("evaluate", script=script)

    def until(self, script: str, timeout_s: float = 10.0) -> None:
        """Wait until the JavaScript expression ``script`` is true."""
        self._do("until", script=script, timeout_ms=timeout_s * 1000)

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    def screenshot(self, path: Path) -> None:
        self._do("screenshot", path=str(path))

    def download(self, selector: str, path: Path) -> str:
        """Click what gives a file, save it as ``path``; gives the name that the page proposed."""
        return str(self._do("download", selector=selector, path=str(path)))

    def accessibility(self) -> str:
        """The page as a screen reader meets it."""
        return str(self._do("accessibility"))

    def reload(self) -> None:
        self._do("reload")

    def problems(self) -> list[str]:
        """Errors of scripts, and what the content-security policy refused."""
        return list(self._do("problems"))

    def close(self) -> None:
        if self._process.poll() is None:
            assert self._process.stdin and self._process.stdout
            try:
                self._do("close")
                self._process.wait(10)
            except (AssertionError, OSError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
