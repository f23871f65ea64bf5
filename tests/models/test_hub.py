"""The hub as a local server: what is fetched, what is not, and what is said when it cannot be."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save

from tests.hub_server import HubHandler

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": save({"w": np.arange(6, dtype=np.float32)}),
    "pytorch_model.bin": b"pickle",
    "chat_template.jinja": b"{{ messages }}",
}
REPOSITORIES = {
    "me/good": FILES,
    "me/gated": FILES,
    "me/pickled": {name: FILES[name] for name in ("config.json", "pytorch_model.bin")},
}
TOKEN = "hf_secretsecret"
PROGRAM = """
import sys
from kerastune.errors import KerastuneError
from kerastune.models import resolve_model
try:
    files = resolve_model(sys.argv[1])
    print(files.base_id, *sorted(path.name for path in files.path.iterdir()))
except KerastuneError as error:
    print(error)
"""
PLAN = """
import sys
from kerastune.errors import KerastuneError
from kerastune.planning import find_shape
try:
    print(find_shape(sys.argv[1])[0].parameters)
except KerastuneError as error:
    print(error)
"""
SHAPE = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 22,
    "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 5632,
}  # fmt: skip
REPOSITORIES["me/shape"] = {"config.json": json.dumps(SHAPE).encode(), "model.safetensors": b""}


class Hub(HubHandler, BaseHTTPRequestHandler):
    """The three requests that a snapshot needs."""

    def do_GET(self):
        self.server.seen.append(self.path)
        path = self.path.partition("?")[0].removeprefix("/api/models").strip("/").split("/")
        repository, rest = "/".join(path[:2]), path[2:]
        if repository not in REPOSITORIES:
            return self.answer(404, X_Error_Code="RepoNotFound")
        files = REPOSITORIES[repository]
        if self.path.startswith("/api/"):
            tree = [
                {"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40} for name in files
            ]
            info = {"id": repository, "sha": "a" * 40, "siblings": [{"rfilename": name} for name in files]}
            content = tree if "tree" in rest else info
            return self.answer(200, json.dumps(content).encode(), Content_Type="application/json")
        if repository == "me/gated" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, X_Error_Code="GatedRepo")
        body = files[rest[-1]]
        return self.answer(200, body, ETag=f'"{rest[-1]}"', X_Repo_Commit="a" * 40)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def resolve(name, tmp_path, port, program=PROGRAM, **variables):
    kept = {key: value for key, value in os.environ.items() if not key.upper().endswith(("_PROXY", "TOKEN"))}
    environment = kept | {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path)} | variables
    done = subprocess.run(
        [sys.executable, "-c", program, name], env=environment, capture_output=True, text=True, timeout=120
    )
    assert TOKEN[-4:] not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_snapshot_without_pickle_then_offline(hub, tmp_path):
    expected = "me/good chat_template.jinja config.json model.safetensors"
    assert resolve("me/good", tmp_path, hub.server_port) == expected
    assert not any("pytorch_model" in path for path in hub.seen)
    assert resolve("hf://me/good", tmp_path, 9, HF_HUB_OFFLINE="1") == expected


def test_gated(hub, tmp_path):
    said = resolve("me/gated", tmp_path, hub.server_port)
    assert f"accept its licence at http://127.0.0.1:{hub.server_port}/me/gated, then set HF_TOKEN" in said
    said = resolve("me/gated", tmp_path, hub.server_port, HF_TOKEN="hf_other")
    assert "the token that was found has no access" in said
    assert resolve("me/gated", tmp_path, hub.server_port, HF_TOKEN=TOKEN).startswith("me/gated ")


def test_unknown_and_pickle_only(hub, tmp_path):
    assert "there is no such repository" in resolve("me/nothing", tmp_path, hub.server_port)
    assert "received only pytorch_model.bin, a pickle" in resolve("me/pickled", tmp_path, hub.server_port)


def test_no_network(tmp_path):
    said = resolve("me/good", tmp_path, 9)
    assert "is not in the cache and the hub cannot be reached" in said
    assert "\n" not in said


def test_a_plan_fetches_the_config_alone(hub, tmp_path):
    assert resolve("me/shape", tmp_path, hub.server_port, PLAN) == "1100048384"
    assert all("safetensors" not in path for path in hub.seen)
    assert "has no 'num_attention_heads'" in resolve("me/good", tmp_path, hub.server_port, PLAN)
    assert "accept its licence" in resolve("me/gated", tmp_path, hub.server_port, PLAN)
    assert "the hub cannot be reached" in resolve("me/other", tmp_path, 9, PLAN)
