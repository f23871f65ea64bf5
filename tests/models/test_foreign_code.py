"""Model folders that bring code, or weights that are elsewhere, are refused before anything loads them."""

import json

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from kerastune.errors import ModelError
from kerastune.models.folder import check_folder

PRESET = {
    "module": "keras_hub.src.models.gemma.gemma_backbone",
    "class_name": "GemmaBackbone",
    "registered_name": "keras_hub>GemmaBackbone",
    "config": {"dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}},
}


@pytest.fixture
def preset(tmp_path):
    """Write a preset's files; which layout it is found to be."""

    def write(config=PRESET, **others):
        for name, content in {"config": config, **others}.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        if not (tmp_path / "model.weights.h5").exists():
            with h5py.File(tmp_path / "model.weights.h5", "w") as file:
                file["layers/dense/vars/0"] = np.ones(3)
        return check_folder(tmp_path)

    return write


def test_a_preset_of_keras_own_layers(preset):
    assert preset(task={"module": "keras_hub.src.x", "class_name": "GemmaCausalLM", "config": {}}) == "keras"


@pytest.mark.parametrize(
    "code",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "x"}},
        {"class_name": "__lambda__", "config": {"code": "4wAAAA=="}},
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "keras_evil.x", "class_name": "Dense", "config": {}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}},
    ],
)
@pytest.mark.parametrize("where", ["config", "task", "preprocessor"])
def test_a_preset_with_code_is_refused(preset, code, where):
    inside = PRESET | {"config": {"layers": [{"deep": [code]}]}}
    with pytest.raises(ModelError, match=f"{where}.json: has '{code['class_name']}' of .*could run code"):
        preset(**{where: inside})


def test_weights_in_another_file_are_refused(preset, tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(ModelError, match="layers/dense/vars/0 is in another file"):
        preset()


def test_weights_that_lie_outside_are_refused(preset, tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file.create_dataset("vars/0", (3,), "f4", external=[(str(tmp_path / "raw"), 0, 12)])
    with pytest.raises(ModelError, match="vars/0 is in another file"):
        preset()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(tmp_path, name):
    for file in ("config.json", "tokenizer_config.json"):
        extra = {"auto_map": {"AutoModelForCausalLM": "modeling.py--x"}} if file == name else {}
        (tmp_path / file).write_text(json.dumps({"model_type": "llama"} | extra))
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ModelError, match=f"{name}: names code of its own .auto_map., which is never run here"
    ):
        check_folder(tmp_path)


@pytest.mark.parametrize("outside", ["../other.safetensors", "/etc/passwd"])
def test_shards_cannot_lie_outside(tmp_path, outside):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": outside}}))
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=f"the weight file {outside} is missing"):
        check_folder(tmp_path)
