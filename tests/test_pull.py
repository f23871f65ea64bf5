"""Fetching from a server that fails in the ways that servers fail."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from kerastune.dataset import read_dataset
from kerastune.errors import ConfigError, DataError
from kerastune.pull import pull_tarr

# As the real ones: CRLF, no line end after the last row.
TRAIN = "\r\n".join(["id\tcomment\tlabel", "1\t또 가고 싶어요\t1", "2\t별로예요\t0"]).encode()
SAMPLE = "\r\n".join(["id\tcomment\tlabel", "1\t괜찮네요\t0"]).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers a path with its planned answers one after the other, the last one again and again."""

    plans: ClassVar[dict[str, list[tuple[int, bytes, int]]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        plan = self.plans[name]
        status, body, announced = plan.pop(0) if len(plan) > 1 else plan[0]
        self.send_response(status)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def whole(body, status=200):
    return status, body, len(body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Handler.plans = {"tarr_train.txt": [whole(TRAIN)], "tarr_sample_submit.txt": [whole(SAMPLE)]}
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dataset/"
        server.shutdown()
        thread.join()


def test_bytes_as_they_came_and_readable(server, tmp_path):
    train, sample = pull_tarr(tmp_path / "new", base_url=server)
    assert (train.path.read_bytes(), sample.path.read_bytes()) == (TRAIN, SAMPLE)
    assert (train.rows, sample.rows) == (2, 1)
    data = read_dataset(train.path)
    assert (data.ids, data.texts, data.labels.tolist()) == (
        ("1", "2"),
        ("또 가고 싶어요", "별로예요"),
        [1, 0],
    )


def test_a_busy_server_and_a_broken_answer_are_tried_again(server, tmp_path):
    Handler.plans["tarr_train.txt"] = [whole(b"busy", 503), (200, TRAIN[:20], len(TRAIN)), whole(TRAIN)]
    assert pull_tarr(tmp_path, base_url=server, wait_s=0.01)[0].path.read_bytes() == TRAIN
    assert Handler.asked == ["tarr_train.txt"] * 3 + ["tarr_sample_submit.txt"]


@pytest.mark.parametrize(
    ("answer", "asked", "said"),
    [
        (
            whole(b"gone", 404),
            1,
            "tarr_train.txt: cannot be fetched: the server answered 404 Not Found (tried 1 of 2",
        ),
        (whole(b"busy", 503), 2, "the server answered 503 Service Unavailable (tried 2 of 2 times)"),
        (
            (200, TRAIN[:20], len(TRAIN)),
            2,
            f"it broke off after 20 bytes, {len(TRAIN) - 20} more were announced",
        ),
        (
            whole(b"<html>Sign in</html>"),
            1,
            "fetched, but not the table it should be: tarr_train.txt: no column",
        ),
    ],
)
def test_what_cannot_be_fetched_is_said_and_not_written(server, tmp_path, answer, asked, said):
    Handler.plans["tarr_train.txt"] = [answer]
    with pytest.raises(DataError) as caught:
        pull_tarr(tmp_path, base_url=server, attempts=2, wait_s=0.01)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(Handler.asked) == asked
    assert list(tmp_path.iterdir()) == []


def test_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port  # free again below: nobody listens there
    with pytest.raises(DataError, match=r"Connection refused \(tried 2 of 2 times\); see to the network"):
        pull_tarr(tmp_path, base_url=f"http://127.0.0.1:{port}", attempts=2, wait_s=0.01)
    with pytest.raises(ConfigError, match="attempts: expected 1 or more, received 0"):
        pull_tarr(tmp_path, attempts=0)


class Resuming(BaseHTTPRequestHandler):
    """Breaks off after half of the file, and sends the rest to who asks for it and has the right half."""

    ranges: ClassVar[list[str | None]] = []
    tags: ClassVar[list[str]] = []

    def do_GET(self):
        body = TRAIN if "train" in self.path else SAMPLE
        wanted, tag = self.headers.get("Range"), self.tags.pop(0) if len(self.tags) > 1 else self.tags[0]
        self.ranges.append(wanted)
        rest = body
        if wanted and self.headers.get("If-Range") == tag:
            rest = body[int(wanted.removeprefix("bytes=").removesuffix("-")) :]
        self.send_response(206 if rest is not body else 200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: len(rest) // 2] if len(self.ranges) == 1 else rest)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("tags", [['"a"'], ['"a"', '"b"']])
def test_what_broke_off_is_gone_on_with_where_it_is_the_same_file(monkeypatch, tmp_path, tags):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Resuming.ranges, Resuming.tags = [], list(tags)
    with ThreadingHTTPServer(("127.0.0.1", 0), Resuming) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        pulled = pull_tarr(tmp_path, base_url=f"http://127.0.0.1:{server.server_port}", wait_s=0.01)
        server.shutdown()
        thread.join()
    assert pulled[0].path.read_bytes() == TRAIN
    assert Resuming.ranges == [None, f"bytes={len(TRAIN) // 2}-", None]


def test_more_than_a_table_can_have_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr("kerastune.pull.MOST_BYTES", 10)
    with pytest.raises(DataError, match="it has more than 10 bytes, which no such table has"):
        pull_tarr(tmp_path, base_url=server, wait_s=0.01)
    assert list(tmp_path.iterdir()) == []


def test_other_addresses_are_refused(tmp_path):
    with pytest.raises(DataError, match="expected an address that begins with https://"):
        pull_tarr(tmp_path, base_url=f"file://{tmp_path}")


def test_tls_is_not_left():
    from urllib.request import Request

    from kerastune.pull import _NeverDowngraded

    with pytest.raises(OSError, match="sent on to http://b/, which has no TLS"):
        _NeverDowngraded().redirect_request(Request("https://a/"), None, 302, "", {}, "http://b/")
