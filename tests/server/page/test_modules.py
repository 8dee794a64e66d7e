"""The page's modules without a page, by node's own test runner."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import microturn

PAGE = Path(microturn.__file__).parent / "server" / "page"
HERE = Path(__file__).parent
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="not installed: node")
def test_modules(tmp_path: Path) -> None:
    assert NODE
    for path in (*PAGE.glob("*.js"), *HERE.glob("*.test.mjs")):
        shutil.copy(path, tmp_path)
    # Older node takes a .js file for a module only where a package says so; the page itself has no package.
    (tmp_path / "package.json").write_text('{"type": "module"}')
    tests = sorted(str(path) for path in tmp_path.glob("*.test.mjs"))
    run = subprocess.run([NODE, "--test", *tests], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    passed = re.search(r"^# pass (\d+)$|^ℹ pass (\d+)$", run.stdout, re.MULTILINE)
    assert passed and int(passed[1] or passed[2]) > 20
