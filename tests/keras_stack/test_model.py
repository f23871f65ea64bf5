"""What the Keras stack refuses, and what its programs hold."""

import jax
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


def test_the_gradients_program_holds_no_weights(tiny_model, batch, monkeypatch):
    """JAX keeps a program on disk with all that it closes over: a gigabyte of Gemma 3 270M."""
    compiled, held = jax.jit, []

    def jit(function, **options):
        program = compiled(function, **options)

        def call(*arguments):
            held.append(sum(constant.nbytes for constant in jax.make_jaxpr(function)(*arguments).consts))
            return program(*arguments)

        return call

    stack = KerasStack(ModelSpec(), tiny_model)
    stack.add_lora(LoraSpec(rank=2), seed=0)
    monkeypatch.setattr(jax, "jit", jit)
    assert stack.adapter_gradients(batch)
    assert held
    assert held[0] <= sum(array.nbytes for array in (batch.token_ids, batch.padding_mask)) * 8
