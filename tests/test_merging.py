"""A merged model is the base with its adapter: opened by plain transformers and by plain KerasHub."""

import dataclasses
import errno
import json
import os
import re
import shutil
from pathlib import Path

import keras_hub
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kerastune.adapter import read_adapter, read_peft, write_adapter, write_peft
from kerastune.errors import AdapterError, ConfigError, ModelError, OutputError
from kerastune.lora import Factors
from kerastune.merging import merge
from kerastune.models import resolve_model
from tests.conftest import COMMENTS
from tests.tiny_models import PRESET_GEMMA3

IDS = np.array([[2, 40, 51, 62, 73, 84, 95, 106]])
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="module")
def base(make_tiny_model):
    files = make_tiny_model(seed=11, **PRESET_GEMMA3)
    (files.path / "generation_config.json").write_text(json.dumps({"top_k": 7, "eos_token_id": [1, 3]}))
    (files.path / "chat_template.jinja").write_text(TEMPLATE)
    (files.path / "pytorch_model.bin").write_bytes(b"a pickle")
    return files


@pytest.fixture
def adapter(base, tmp_path):
    """An adapter of plain PEFT's; what the base computes with it."""

    def make(folder="adapter", files=base, **options):
        model = transformers.AutoModelForCausalLM.from_pretrained(files.path, dtype=torch.float32)
        config = peft.LoraConfig(**{"r": 2, "lora_alpha": 6, "target_modules": "all-linear"} | options)
        model = peft.get_peft_model(model, config)
        draw = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data = 0.1 * torch.randn(weight.shape, generator=draw)
            if "magnitude" in name:
                weight.data = weight.data * (1 + 0.2 * torch.rand(weight.shape, generator=draw))
        model.save_pretrained(tmp_path / folder)
        return tmp_path / folder, logits(model)

    return make


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.tensor(IDS)).logits.float().numpy()


def plain(folder, **options):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **options)


@pytest.mark.parametrize(
    "options", [{}, {"use_dora": True}, {"rank_pattern": {"q_proj": 3}, "use_rslora": True}]
)
def test_plain_transformers_opens_the_folder(base, adapter, reviews_file, tmp_path, options):
    source, expected = adapter(**options)
    done = merge(source, tmp_path / "merged", input=reviews_file)
    assert (done.format, done.dtype, done.rows, done.notes) == ("hf", "float32", 8, ())
    assert done.relative < 1e-5
    assert done.absolute < 1e-4
    model = plain(tmp_path / "merged")
    assert model.dtype == torch.float32
    np.testing.assert_allclose(logits(model), expected, atol=1e-5)
    assert np.abs(logits(plain(base.path)) - expected).max() > 0.1


def test_what_is_beside_the_weights_stays_but_no_pickle(base, adapter, reviews_file, tmp_path):
    merge(adapter()[0], tmp_path / "merged", input=reviews_file)
    theirs = {file.name: file.read_bytes() for file in base.path.iterdir() if file.is_file()}
    ours = {file.name: file.read_bytes() for file in (tmp_path / "merged").iterdir()}
    assert set(ours) == set(theirs) - {"pytorch_model.bin"}
    assert {name for name in ours if ours[name] != theirs[name]} == {"model.safetensors"}
    before, after = (load_file(folder / "model.safetensors") for folder in (base.path, tmp_path / "merged"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    assert plain(tmp_path / "merged").generation_config.top_k == 7
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == TEMPLATE


@pytest.fixture
def sharded_bfloat16(base, tmp_path):
    """The base as most are published: in bfloat16 and in shards, with a norm in float32."""
    folder = shutil.copytree(base.path, tmp_path / "base")
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    (folder / "model.safetensors").unlink()
    names, map_ = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        map_ |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": map_}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({**base.config, "dtype": "bfloat16"}))
    return resolve_model(str(folder), cache_dir=tmp_path / "cache")


def test_a_bfloat16_base_in_shards_stays_one(sharded_bfloat16, adapter, reviews_file, tmp_path):
    source, expected = adapter(files=sharded_bfloat16)
    done = merge(source, tmp_path / "merged", input=reviews_file)
    assert done.dtype == "bfloat16"
    assert 1e-5 < done.relative < 2e-2
    for file in sorted((tmp_path / "merged").glob("*.safetensors")):
        with safe_open(file, "pt") as ours, safe_open(sharded_bfloat16.path / file.name, "pt") as theirs:
            assert list(ours.keys()) == list(theirs.keys())
            for name in ours.keys():  # noqa: SIM118
                assert ours.get_tensor(name).dtype == theirs.get_tensor(name).dtype
    model = plain(tmp_path / "merged", dtype=torch.float32)
    assert np.abs(logits(model) - expected).max() < 2e-2 * np.abs(expected).max()
    weight = model.get_submodule("model.layers.0.mlp.up_proj").weight
    update = read_peft(source)["model.layers.0.mlp.up_proj"]
    delta = torch.from_numpy(update.alpha / update.rank * update.b @ update.a)
    module = plain(sharded_bfloat16.path, dtype=torch.float32).get_submodule("model.layers.0.mlp.up_proj")
    # once: float32 sums, rounded at the end
    torch.testing.assert_close(weight, (module.weight + delta).bfloat16().float(), rtol=1e-2, atol=0)


def test_another_dtype_is_said_in_the_config(sharded_bfloat16, adapter, reviews_file, tmp_path):
    source, expected = adapter(files=sharded_bfloat16)
    done = merge(source, tmp_path / "merged", dtype="float32", input=reviews_file)
    assert done.dtype == "float32"
    assert done.relative < 1e-5
    model = plain(tmp_path / "merged")
    assert model.dtype == torch.float32
    np.testing.assert_allclose(logits(model), expected, atol=1e-5)
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(p.numel() * 4 for p in model.parameters())


def keras_logits(folder):
    model = keras_hub.models.CausalLM.from_preset(str(folder), preprocessor=None, dtype="float32")
    return np.asarray(model.predict_on_batch({"token_ids": IDS, "padding_mask": np.ones(IDS.shape, bool)}))


def test_plain_kerashub_opens_the_preset(adapter, reviews_file, tiny_tokenizer, tmp_path):
    source, expected = adapter()
    done = merge(source, tmp_path / "merged", format="keras", input=reviews_file)
    assert (done.format, done.dtype) == ("keras", "float32")
    assert done.relative < 1e-4
    np.testing.assert_allclose(keras_logits(tmp_path / "merged"), expected, atol=2e-4)
    assert done.notes == ()
    model = keras_hub.models.CausalLM.from_preset(str(tmp_path / "merged"))
    assert len(model.trainable_variables) == len(model.backbone.weights)
    for text in COMMENTS[:3]:
        assert list(model.preprocessor.tokenizer.tokenize(text)) == list(tiny_tokenizer.encode(text))


ROPE = {"rope_type": "default", "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("architecture", "changes", "notes"),
    [
        ("gemma2", {"query_pre_attn_scalar": 16, "rope_parameters": ROPE}, ["no tokenizer: .*doesn't exist"]),
        ("tinyllama", {}, ["no tokenizer: .*: its ids of a text begin"]),
        ("llama3", {}, ["no tokenizer: .*: its ids of a text begin"]),
        ("qwen3", {}, ["norm: epsilon is 1e-06, 1e-05 in a preset", "no tokenizer: .*Cannot find special"]),
        ("mistral", {}, ["no tokenizer: .*doesn't exist"]),
    ],
)  # fmt: skip
def test_presets_of_other_architectures(
    make_tiny_model, adapter, reviews_file, tmp_path, architecture, changes, notes
):
    """KerasHub makes a byte-level tokenizer of any Llama, whose ids would be wrong here."""
    source, expected = adapter(files=make_tiny_model(3, architecture, **changes))
    done = merge(source, tmp_path / "merged", format="keras", input=reviews_file)
    for note, pattern in zip(done.notes, notes, strict=True):
        assert re.search(pattern, note), note
    limit = 1e-3 if "epsilon" in notes[0] else 1e-5
    assert np.abs(keras_logits(tmp_path / "merged") - expected).max() < limit * np.abs(expected).max()


def test_a_preset_is_in_the_bases_dtype(sharded_bfloat16, adapter, reviews_file, tmp_path):
    source, expected = adapter(files=sharded_bfloat16)
    done = merge(source, tmp_path / "merged", format="keras", input=reviews_file)
    assert done.dtype == "bfloat16"
    assert np.abs(keras_logits(tmp_path / "merged") - expected).max() < 2e-2 * np.abs(expected).max()
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["config"]["dtype"]["config"]["name"] == "bfloat16"


def test_a_preset_that_cannot_say_the_base_is_refused(make_tiny_model, adapter, reviews_file, tmp_path):
    """Windows of one layer of two are in no preset of KerasHub's, and show on long rows alone."""
    types = ["full_attention", "sliding_attention"]
    source, _ = adapter(
        files=make_tiny_model(**PRESET_GEMMA3 | {"sliding_window": 500, "layer_types": types})
    )
    said = r"block_0/attention: use_sliding_window_attention is False, True in a preset; use --format hf"
    with pytest.raises(ModelError, match=said):
        merge(source, tmp_path / "merged", format="keras", input=reviews_file)
    assert not (tmp_path / "merged").exists()


def test_a_run_and_its_adapter_know_their_base(tiny_run, reviews_file, tmp_path):
    for number, source in enumerate((tiny_run.folder, tiny_run.folder / "adapter")):
        done = merge(source, tmp_path / f"merged{number}", input=reviews_file)
        assert done.relative < 1e-5
    files = [folder / "model.safetensors" for folder in (tmp_path / "merged0", tmp_path / "merged1")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_bases_that_do_not_fit_are_refused(tiny_run, make_tiny_model, adapter, base, tmp_path, monkeypatch):
    def said(source, **options):
        with pytest.raises((AdapterError, ModelError, ConfigError, OutputError)) as caught:
            merge(source, tmp_path / "merged", **options)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "merged").exists()
        return str(caught.value)

    source, _ = adapter()
    other = make_tiny_model(seed=9)
    assert "was trained with another base model" in said(tiny_run.folder, model=str(other.path))
    assert "was trained with another base model" in said(tiny_run.folder / "adapter", model=str(other.path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert said(source, model="nobody/nothing").startswith("nobody/nothing: ")
    assert "expected 'hf' or 'keras', received 'onnx'" in said(source, format="onnx")
    assert "float16 overflows in gemma3_text" in said(source, dtype="float16")
    assert said(tmp_path / "absent") == (
        f"{tmp_path / 'absent'}: there is no such folder; expected an adapter's or a run's"
    )
    quantised = shutil.copytree(base.path, tmp_path / "quantised")
    config = {"quantization_config": {"quant_method": "bitsandbytes"}, "_name_or_path": "owner/name"}
    (quantised / "config.json").write_text(json.dumps({**base.config, **config}))
    assert said(source, model=str(quantised)).endswith(
        "its files are quantised (bitsandbytes), so no update can be added to them; give the unquantised "
        "base that it was made from with --model, such as owner/name"
    )


def test_adapters_that_do_not_fit_are_refused(adapter, base, tmp_path, reviews_file):
    source, _ = adapter()
    factors = read_peft(source)
    query = "model.layers.1.self_attn.q_proj"
    cases = {
        "missing": ({m: f for m, f in factors.items() if m != query}, rf"missing \['{query}'\]"),
        "unexpected": (
            factors | {"model.embed_tokens": factors[query]},
            r"unexpected \['model.embed_tokens'\]",
        ),
        "narrow": ({m: Factors(f.a[:, :5], f.b, 1.0) for m, f in factors.items()}, "expected A of shape"),
    }
    for name, (changed, said) in cases.items():
        write_peft(tmp_path / name, changed, base.base_id)
        with pytest.raises(AdapterError, match=said):
            merge(tmp_path / name, tmp_path / "merged", input=reviews_file)
    for name, changes, said in (
        ("nameless", {"base_model_name_or_path": ""}, "names no base model; write the base's id"),
        ("rank", {"r": 5}, "expected A and B of rank 5, received shapes"),
        (
            "partly",
            {"modules_to_save": ["embed_tokens"]},
            r"linear layers alone, received \['modules_to_save'\]",
        ),
    ):
        folder = shutil.copytree(source, tmp_path / name)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))
        with pytest.raises(AdapterError, match=said):
            merge(folder, tmp_path / "merged", input=reviews_file)
    assert not (tmp_path / "merged").exists()


def test_dora_has_no_preset(adapter, tmp_path):
    source, _ = adapter(use_dora=True)
    with pytest.raises(AdapterError, match="which the keras stack cannot apply; use --format hf"):
        merge(source, tmp_path / "merged", format="keras")


def test_a_folder_that_holds_something_is_left_alone(adapter):
    source, _ = adapter()
    with pytest.raises(OutputError, match="the folder is not empty; choose another --out, or delete it"):
        merge(source, source)
    assert (source / "adapter_model.safetensors").exists()


def test_an_adapter_of_no_numbers_leaves_nothing(adapter, base, tmp_path, reviews_file):
    source, _ = adapter()
    factors = read_peft(source)
    broken = {m: Factors(f.a, np.full_like(f.b, np.inf), f.alpha) for m, f in factors.items()}
    write_peft(tmp_path / "broken", broken, base.base_id)
    with pytest.raises(ModelError):
        merge(tmp_path / "broken", tmp_path / "merged", input=reviews_file)
    assert not (tmp_path / "merged").exists()


def test_the_packaged_model_is_found_by_its_name(tiny_run, tmp_path, monkeypatch):
    """Its base id is that of a gated repository, which nobody need have access to."""
    factors, card = read_adapter(tiny_run.folder / "adapter")
    write_adapter(
        tmp_path / "adapter",
        factors,
        dataclasses.replace(card, base_id="google/gemma-3-270m", model="gemma3-270m"),
    )
    asked = []

    def resolve(name):
        asked.append(name)
        raise ModelError("enough")

    monkeypatch.setattr("kerastune.adapter_source.resolve_model", resolve)
    with pytest.raises(ModelError, match="enough"):
        merge(tmp_path / "adapter", tmp_path / "merged")
    assert asked == ["gemma3-270m"]


@pytest.mark.parametrize("format", ["hf", "keras"])
def test_a_full_disk_leaves_nothing(adapter, tmp_path, reviews_file, monkeypatch, format):
    source, _ = adapter()
    if format == "hf":
        real = Path.write_bytes

        def full(path, *args):
            if path.name == "model.safetensors":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, *args)

        monkeypatch.setattr(Path, "write_bytes", full)
    else:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "Can't write data (file write failed: time = Mon\n, errno = 28)")

        monkeypatch.setattr(keras_hub.models.Gemma3Backbone, "save_weights", full)
    before = set(tmp_path.iterdir())
    with pytest.raises(OutputError) as caught:
        merge(source, tmp_path / "merged", format=format, input=reviews_file)
    assert str(caught.value) == (
        f"{tmp_path / 'merged'}: cannot write: No space left on device; free some space or choose another "
        "--out"
    )
    assert set(tmp_path.iterdir()) == before
