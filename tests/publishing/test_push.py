"""Pushing to a hub that is a local server: what is asked of it, what it is given, and what is refused."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kerastune.adapter import WEIGHTS
from kerastune.cli import main
from kerastune.errors import AdapterError, ConfigError, HubError
from kerastune.publishing import push, write_cards
from tests.hub_server import HubHandler

TOKEN = "hf_secretsecret"


class Hub(HubHandler, BaseHTTPRequestHandler):
    """The requests of an upload; the server's `repositories` hold name -> (private, files)."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401)
        if self.server.refuse:
            return self.answer(self.server.refuse)
        if self.path == "/api/validate-yaml":
            return self.answer(200)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.server.repositories:
                return self.answer(409, {"url": f"{self.server.address}/{name}"})
            self.server.repositories[name] = (asked["visibility"] == "private", {})
            return self.answer(200, {"url": f"{self.server.address}/{name}"})
        name = "/".join(self.path.removeprefix("/api/models/").split("/")[:2])
        if "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.repositories[name][1][line["value"]["path"]] = content
        done = {"commitUrl": f"{self.server.address}/{name}/commit/c0", "commitOid": "c0" * 20}
        return self.answer(200, done)

    def do_GET(self):
        self.server.seen.append(self.path)
        if self.path.startswith("/api/models/"):
            name = self.path.removeprefix("/api/models/")
            if name not in self.server.repositories:
                return self.answer(404, X_Error_Code="RepoNotFound")
            private, _ = self.server.repositories[name]
            return self.answer(200, {"id": name, "private": private, "sha": "c0" * 20})
        owner, name, _, _, file = self.path.strip("/").split("/")
        files = self.server.repositories[f"{owner}/{name}"][1]
        if file not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        return self.answer(200, files[file], ETag=f'"{file}"', X_Repo_Commit="c0" * 20)


@pytest.fixture
def hub(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.repositories, server.refuse = [], {}, None
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_adapters_files_and_no_others_go_into_a_private_repository(hub, make_run):
    folder = make_run()
    (folder / "adapter" / "notes.txt").write_text("not for the hub")
    pushed = push(folder, "me/reviews", endpoint=hub.address)
    private, files = hub.repositories["me/reviews"]
    assert private
    assert pushed.private
    assert pushed.page == f"{hub.address}/me/reviews"
    assert set(files) == set(pushed.files) == {
        "adapter_model.safetensors", "adapter_config.json", "kerastune.json", "README.md",
    }  # fmt: skip
    for name, content in files.items():
        assert content == (folder / "adapter" / name).read_bytes()


def test_pushed_again_and_public(hub, make_run):
    folder = make_run()
    push(folder, "me/reviews", public=True, endpoint=hub.address)
    assert hub.repositories["me/reviews"][0] is False
    with pytest.raises(HubError, match=r"this repository is public .*; say --public if that is meant"):
        push(folder, "me/reviews", endpoint=hub.address)
    push(folder, "me/reviews", public=True, endpoint=hub.address)


def test_a_card_on_the_hub_is_replaced_only_when_asked_for(hub, make_run):
    folder = make_run()
    hub.repositories["me/reviews"] = (True, {"README.md": b"written by hand"})
    with pytest.raises(HubError, match=r"me/reviews: has a README.md already that says something else"):
        push(folder, "me/reviews", endpoint=hub.address)
    assert hub.repositories["me/reviews"][1] == {"README.md": b"written by hand"}
    push(folder, "me/reviews", overwrite=True, endpoint=hub.address)
    assert hub.repositories["me/reviews"][1]["README.md"] != b"written by hand"


def test_a_card_that_was_edited_is_pushed_as_it_is(hub, make_run):
    folder = make_run()
    card, _ = write_cards(folder)
    card.write_text("---\nlibrary_name: peft\n---\nmine\n")
    push(folder, "me/reviews", endpoint=hub.address)
    assert hub.repositories["me/reviews"][1]["README.md"].endswith(b"mine\n")


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        (403, "the token from the environment may not write there"),
        (401, "the hub does not accept the token from the environment"),
        (429, "the hub answered with status 429"),
    ],
)
def test_refused(hub, make_run, refuse, said):
    hub.refuse = refuse
    with pytest.raises(HubError, match=said) as caught:
        push(make_run(), "me/reviews", endpoint=hub.address)
    assert TOKEN not in str(caught.value)
    assert hub.repositories == {}


def test_a_wrong_token_is_not_shown(hub, make_run, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrong")
    assert main(["push", str(make_run()), "--to", "me/reviews", "--endpoint", hub.address]) == 2
    said = capsys.readouterr()
    assert "does not accept the token" in said.err
    assert said.err.count("\n") == 1
    assert "wrongwrong" not in said.out + said.err


def test_no_token_is_said_before_anything_is_asked(hub, make_run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"no token to upload with.*set HF_TOKEN"):
        push(make_run(), "me/reviews", endpoint=hub.address)
    assert hub.seen == []


@pytest.mark.parametrize("name", ["reviews", "a/b/c", "me/--bad"])
def test_a_name_that_is_none(hub, make_run, name):
    with pytest.raises(HubError, match="expected a repository such as owner/name"):
        push(make_run(), name, endpoint=hub.address)
    assert hub.seen == []


@pytest.mark.usefixtures("hub")
def test_no_network(make_run):
    folder = make_run()
    with pytest.raises(HubError, match=r"the hub cannot be reached .*; connect to the network"):
        push(folder, "me/reviews", endpoint="http://127.0.0.1:9")


def test_no_run_and_nothing_trained(hub, make_run, tmp_path):
    with pytest.raises(ConfigError, match="no folder of a run"):
        push(tmp_path, "me/reviews", endpoint=hub.address)
    folder = make_run()
    (folder / "adapter" / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match="nothing to publish"):
        push(folder, "me/reviews", endpoint=hub.address)
    assert hub.seen == []


def test_the_command(hub, make_run, capsys):
    assert main(["push", str(make_run()), "--to", "me/reviews", "--endpoint", hub.address]) == 0
    said = capsys.readouterr()
    assert f"{hub.address}/me/reviews" in said.out.replace("\n", "")
    assert "private" in said.out
    assert TOKEN not in said.out + said.err
