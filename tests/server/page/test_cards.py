"""Cards in Chromium: what jobs show stands beside the timeline, and nothing in it gets out of its frame."""

from __future__ import annotations

import base64
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import microturn
from microturn.background.notes import Notes
from microturn.background.offline import OfflineAgent
from microturn.background.tools import Tools
from microturn.server.access import CARD_STYLE
from tests.parity.small import small_model
from tests.server.conftest import running
from tests.server.delegating import delegating
from tests.server.page.browser import Browser
from tests.server.page.fake_server import FakeServer
from tests.server.page.test_page import DESKTOP, LIVE, PHONE, type_in

CARDS = Path(microturn.__file__).parent / "server" / "page" / "cards.js"
NUM_CARDS = "document.querySelectorAll('#cards li').length"
INSIDE = "document.querySelector('#cards iframe').srcdoc"
CHART = {
    "mark": "bar",
    "data": {"values": [{"day": "Mo", "n": 2}, {"day": "Tu", "n": 4}]},
    "encoding": {"x": {"field": "day", "type": "nominal"}, "y": {"field": "n", "type": "quantitative"}},
}


def test_the_policy_names_the_style_of_the_cards() -> None:
    style = re.search(r"const STYLE = `(.*?)`;", CARDS.read_text(), re.DOTALL)
    assert style is not None
    assert f"sha256-{base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()}" == CARD_STYLE


@pytest.fixture(scope="module")
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@contextmanager
def page_of(server: FakeServer, viewport: dict[str, int] = DESKTOP) -> Iterator[Browser]:
    with Browser(server.url, viewport=viewport) as page:
        type_in(page, "hello")
        page.until(LIVE)
        yield page


def state(job: str, state: str, **more: Any) -> dict[str, Any]:
    return {"type": "session.job.state", "job_id": job, "state": state, **more}


def result(job: str, index: int, **shown: Any) -> dict[str, Any]:
    return {"type": "session.job.result", "job_id": job, "index": index, "result": shown}


@pytest.mark.needs_browser
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_a_job_shows_stands_beside_the_timeline(
    server: FakeServer, viewport: dict[str, int], tmp_path: Path
) -> None:
    with page_of(server, viewport) as page:
        assert page.evaluate("document.querySelector('#cards').hidden") is True
        server.session.jobs = [state("dlg_1", "running", task="search my notes for bread")]
        page.until("/Jobsearch my notes for bread/.test(document.querySelector('#transcript').textContent)")
        server.session.jobs = [
            result("dlg_1", 0, type="spoken", text="Your note says, buy bread."),
            result("dlg_1", 1, type="timer", label="bread", due_ms=60_000, text="A reminder, bread."),
            result("dlg_1", 2, type="table", title="Notes", columns=["file", "text"], rows=[["home.md", "buy bread"]]),
            result("dlg_1", 3, type="markdown", title="Bread", text="# Bread\n\n*old* and **new**"),
            result("dlg_1", 4, type="vega-lite", title="Loaves", spec=CHART),
            result("dlg_1", 5, type="html", title="Recipe", fragment="<h2>Bread</h2><p>flour</p>"),
            state("dlg_1", "done"),
        ]
        page.until(f"{NUM_CARDS} === 4")
        titles = page.evaluate("[...document.querySelectorAll('#cards h3')].map((one) => one.textContent)")
        assert titles == ["Recipe", "Loaves", "Bread", "Notes"]
        assert "search my notes for bread" in page.text("#cards p")
        transcript = page.text("#transcript")
        assert "Your note says, buy bread." in transcript and transcript.endswith("done")
        documents = page.evaluate("[...document.querySelectorAll('#cards iframe')].map((one) => one.srcdoc)")
        for document, part in zip(
            documents, ["<h2>Bread</h2><p>flour</p>", "<rect", "<strong>new", "<td>home.md"], strict=True
        ):
            assert part in document
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")
        page.screenshot(tmp_path / "cards.png")
        # In sight, beside the timeline or below it, and it does not hang over the edge.
        box = page.evaluate("document.querySelector('#cards iframe').getBoundingClientRect().toJSON()")
        assert box["width"] > 200 and box["height"] > 100 and box["right"] <= viewport["width"]
        assert page.problems() == []


HOSTILE = """
<script>parent.document.title = "taken"; fetch("URL/script")</script>
<img src="URL/image" onerror="parent.document.title = 'taken'">
<svg onload="parent.document.title = 'taken'"><use href="URL/use"></use></svg>
<iframe src="URL/frame"></iframe><object data="URL/object"></object>
<link rel="stylesheet" href="URL/link"><link rel="dns-prefetch" href="URL"><link rel="prefetch" href="URL/prefetch">
<style>@import "URL/import"; body { background: url(URL/background) }</style>
<meta http-equiv="refresh" content="0; url=URL/refresh"><base href="URL/">
<form action="URL/form"><input name="a" autofocus onfocus="parent.document.title = 'taken'"><button>go</button></form>
<a href="URL/link" target="_top" ping="URL/ping">click</a><p style="background: url(URL/style)">words</p>
<math><mtext></form><form><mglyph><style></math><img src="URL/math" onerror="parent.document.title = 'taken'">
<table background="URL/table"><td>cell</table><video src="URL/video" autoplay></video>
"""


@pytest.mark.needs_browser
def test_nothing_gets_out_of_a_card(server: FakeServer) -> None:
    asked: list[str] = []

    class Trap(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    trap = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trap)
    threading.Thread(target=trap.serve_forever, daemon=True).start()
    hostile = HOSTILE.replace("URL", f"http://127.0.0.1:{trap.server_port}")
    try:
        with page_of(server) as page:
            title = page.evaluate("document.title")
            server.session.jobs = [
                state("dlg_1", "running", task=hostile),
                result("dlg_1", 0, type="spoken", text=hostile),
                result("dlg_1", 1, type="markdown", title=hostile, text=hostile),
                result("dlg_1", 2, type="table", title="t", columns=[hostile], rows=[[hostile]]),
                result("dlg_1", 3, type="vega-lite", title="t", spec={**CHART, "mark": hostile, "usermeta": hostile}),
                result("dlg_1", 4, type="html", title="t", fragment=hostile),
            ]
            page.until(f"{NUM_CARDS} === 4")
            page.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))")
            assert page.evaluate("document.title") == title and asked == []
            # All that is seen of it: the page's policy held while the fragment was parsed, too.
            assert [one for one in page.problems() if "Content Security Policy" not in one] == []
            document = page.evaluate(INSIDE)
            assert "<p>words</p>" in document and "127.0.0.1" not in document
            # Even what were to get past all that finds no scripts, no network and no way to the page.
            raw = f'<img src="http://127.0.0.1:{trap.server_port}/raw"><script>parent.document.title = "taken"</script>'
            page.evaluate(f"document.querySelector('#cards iframe').srcdoc = {raw!r}")
            page.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))")
            assert page.evaluate("document.title") == title and asked == []
            assert page.evaluate("document.querySelector('#cards iframe').contentDocument") is None
    finally:
        trap.shutdown()
        trap.server_close()


@pytest.mark.needs_browser
def test_many_large_cards_leave_the_page_quick(server: FakeServer) -> None:
    with page_of(server) as page:
        server.session.jobs = [state("dlg_1", "running", task="flood")]
        server.session.jobs += [
            result("dlg_1", number, type="html", title=f"{number}", fragment="<b>x" * 12_000) for number in range(40)
        ]
        server.session.jobs += [result("dlg_1", 40, type="markdown", title="last", text="**a " * 12_000)]
        page.until("document.querySelector('#cards h3')?.textContent === 'last'", 20)
        assert page.evaluate(NUM_CARDS) == 24
        type_in(page, "still here")
        page.until("/still here/.test(document.querySelector('#transcript').textContent)")


@pytest.mark.needs_browser
def test_a_request_becomes_a_card_through_the_real_server(tmp_path: Path) -> None:
    (tmp_path / "home.md").write_text("Buy two loaves of bread.")
    agent = OfflineAgent(Tools(Notes(tmp_path)))
    with (
        running(model=delegating(small_model()), agent=agent) as port,
        Browser(f"http://127.0.0.1:{port}/#line=websocket", viewport=DESKTOP) as page,
    ):
        type_in(page, "search my notes for bread please")
        page.until(f"{NUM_CARDS} === 1", 20)
        assert "<td>home.md</td>" in page.evaluate(INSIDE)
        page.until("/done/.test(document.querySelector('#transcript').textContent)")
        assert page.problems() == []
