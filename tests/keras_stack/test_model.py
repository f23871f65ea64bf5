"""What the Keras stack refuses."""

import pytest

from kerastune.config import LoraSpec, ModelSpec
from kerastune.errors import ConfigError, ModelError
from kerastune.keras_stack import KerasStack
from kerastune.models import resolve_model


def test_another_backend_in_one_process_is_refused(tiny_model):
    KerasStack(ModelSpec(), tiny_model)
    with pytest.raises(ConfigError, match="expected 'torch', but Keras already runs on 'jax'"):
        KerasStack(ModelSpec(backend="torch"), tiny_model)


def test_a_model_that_kerashub_does_not_know_is_one_line(tiny_model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.path.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    config = (folder / "config.json").read_text().replace("gemma3_text", "unheard_of")
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match="KerasHub cannot load") as caught:
        KerasStack(ModelSpec(), resolve_model(str(folder), cache_dir=tmp_path))
    assert "\n" not in str(caught.value)


def test_dora_is_refused(tiny_model):
    with pytest.raises(ConfigError, match="dora: not on the keras stack"):
        KerasStack(ModelSpec(), tiny_model).add_lora(LoraSpec(dora=True), seed=0)
