"""The page in a real browser: no complaint, a table that sorts and filters, nothing fetched."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from kerastune.report.page import render

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"
)

# What a reader does, and what is then seen, written into the page for --dump-dom to show.
PROBE = """
const seen = {};
const table = document.getElementById("errors-table");
const column = (name) => [...table.tHead.rows[0].cells].findIndex((cell) => cell.innerText.trim() === name);
const shown = (name) => [...table.tBodies[0].rows].filter((row) => !row.hidden)
  .map((row) => row.cells[column(name)].textContent);
const header = (name) => table.tHead.rows[0].cells[column(name)];
const button = (name) => header(name).querySelector("button");
const press = (name) => { button(name).focus(); button(name).click(); };
const fill = (id, text) => { const field = document.querySelector(id); field.value = text;
  field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input")); };
const said = () => document.getElementById("errors-said").value;
seen.first = shown("Id");
seen.said = said();
press("Id"); seen.rising = shown("Id"); seen.rising_said = header("Id").ariaSort;
seen.focused = document.activeElement === button("Id");
press("Id"); seen.falling = shown("Id"); seen.falling_said = header("Id").ariaSort;
if (column("Confidence") >= 0) {
  press("Confidence"); seen.sure = shown("Confidence").map(Number);
  press("Confidence"); seen.unsure = shown("Confidence").map(Number);
}
fill("#errors-search", "국물 번"); seen.found = shown("Text");
fill("#errors-search", "no such words"); seen.none = [shown("Id"), said()];
fill("#errors-search", "<SCRIPT>alert"); seen.tricky = shown("Id");
fill("#errors-search", "");
fill("[data-filter=label]", "1"); seen.of_one = shown("True");
fill("[data-filter=label]", "");
if (document.querySelector("[data-filter=who]")) {
  fill("[data-filter=who]", "0"); seen.only_first = shown("Id");
  fill("[data-filter=who]", "both"); seen.both = shown("Id");
}
seen.unnamed = [...document.querySelectorAll("button, input, select, a")]
  .filter((one) => !(one.innerText || one.labels?.[0]?.innerText || "").trim()).length;
seen.fetched = performance.getEntriesByType("resource").map((one) => one.name);
seen.fonts = [...document.fonts].map((font) => font.status);
document.fonts.load("1em Report", "한").then((loaded) => {
  seen.loaded = loaded.length;
  const answer = document.createElement("pre");
  answer.id = "seen"; answer.textContent = JSON.stringify(seen);
  document.body.append(answer);
});
"""


@pytest.fixture
def browse(tmp_path):
    """Open a page in the browser; the document as it ends up, and what the console said."""

    def browse(page):
        path = tmp_path / "report.html"
        path.write_text(page, encoding="utf-8")
        answer = subprocess.run(
            [
                BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--disable-background-networking", "--no-first-run", f"--user-data-dir={tmp_path / 'user'}",
                "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000", "--dump-dom", path.as_uri(),
            ],
            capture_output=True, text=True, encoding="utf-8", timeout=120, check=True,
        )  # fmt: skip
        return answer.stdout, [line for line in answer.stderr.splitlines() if "CONSOLE" in line]

    return browse


def probed(page):
    """The page with the probe in it, which its security policy is told of."""
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    allowed = page.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    return allowed.replace("</body>", f"<script>{PROBE}</script></body>")


def answer_of(document):
    return json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', document, re.DOTALL)[1]))


def wrong_ids(content, place=0):
    run = content.runs[place]
    return {content.rows.ids[row] for row in np.flatnonzero(run.predicted != content.rows.labels)}


def test_one_run(browse, one):
    document, complaints = browse(probed(render(one)))
    seen = answer_of(document)
    assert complaints == []
    assert set(seen["first"]) == wrong_ids(one)
    assert seen["said"] == f"{len(seen['first'])} of {len(seen['first'])} rows"
    assert seen["rising"] == sorted(seen["first"]) != seen["first"]
    assert seen["falling"] == seen["rising"][::-1]
    assert (seen["rising_said"], seen["falling_said"]) == ("ascending", "descending")
    assert seen["focused"]
    assert seen["sure"] == sorted(seen["sure"], reverse=True)
    assert seen["unsure"] == seen["sure"][::-1]
    assert seen["found"]
    assert all("국물" in text for text in seen["found"])
    assert seen["none"] == [[], f"0 of {len(seen['first'])} rows"]
    assert "r008" in seen["tricky"]
    assert set(seen["of_one"]) == {"1"}
    assert seen["unnamed"] == 0
    assert all(address.startswith("data:") for address in seen["fetched"])
    assert seen["loaded"] == 1


def test_two_runs(browse, two):
    document, complaints = browse(probed(render(two)))
    seen, [first, second] = answer_of(document), (wrong_ids(two, place) for place in (0, 1))
    assert complaints == []
    assert len(seen["first"]) == min(50, len(first | second))
    assert set(seen["only_first"]) == first - second
    assert set(seen["both"]) == first & second


def test_what_is_not_the_pages_own_is_seen_and_stopped(browse, one):
    asked = []

    class Outside(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Outside)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/picture.png"
        foreign = f'<img src="{address}"><script>document.title = "taken"</script></body>'
        document, complaints = browse(render(one).replace("</body>", foreign))
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []
    assert "<title>taken" not in document
    assert len(complaints) == 2
    assert all("Content Security Policy" in line for line in complaints)
