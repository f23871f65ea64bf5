import os
import sys
from types import SimpleNamespace

import pytest

from kerastune.models.secrets import find_token

NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN")


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))


def give(monkeypatch, place, secrets):
    def get(*arguments):
        return secrets[arguments[-1]]  # both raise for what is not there

    if place == "colab":
        monkeypatch.setitem(sys.modules, "google.colab.userdata", SimpleNamespace(get=get))
    else:
        client = type("UserSecretsClient", (), {"get_secret": get})
        monkeypatch.setitem(sys.modules, "kaggle_secrets", SimpleNamespace(UserSecretsClient=client))


def test_order(monkeypatch):
    assert find_token("hf") is None
    give(monkeypatch, "kaggle", {"HF_TOKEN": "from-kaggle"})
    assert find_token("hf").token == "from-kaggle"
    give(monkeypatch, "colab", {"HF_TOKEN": "from-colab"})
    assert find_token("hf").token == "from-colab"
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "old-variable\n")
    assert find_token("hf").token == "old-variable"
    monkeypatch.setenv("HF_TOKEN", "variable")
    assert find_token("hf").token == "variable"


def test_kaggle_needs_both_halves(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    assert find_token("kaggle") is None
    (tmp_path / "kaggle.json").write_text('{"username": "me", "key": "k1"}')
    assert dict(find_token("kaggle").values) == {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "k1"}
    monkeypatch.setenv("KAGGLE_API_TOKEN", "k2")
    assert dict(find_token("kaggle").values) == {"KAGGLE_API_TOKEN": "k2"}


def test_environment_is_set_for_the_call_alone(monkeypatch, tmp_path):
    (tmp_path / "kaggle.json").write_text('{"username": "me", "key": "k1"}')
    monkeypatch.setenv("KAGGLE_USERNAME", "before")
    with find_token("kaggle").in_environment():
        assert (os.environ["KAGGLE_USERNAME"], os.environ["KAGGLE_KEY"]) == ("me", "k1")
    assert os.environ["KAGGLE_USERNAME"] == "before"
    assert "KAGGLE_KEY" not in os.environ


def test_no_text_shows_it(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    secret = find_token("hf")
    assert "hf_a" not in f"{secret} {secret!r}"
    assert "efgh" not in f"{secret} {secret!r}"
