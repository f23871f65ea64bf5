"""Keras' own adapter file to PEFT's format and back: against Keras' own enable_lora and plain PEFT."""

import functools
import json
import shutil

import h5py
import keras
import ml_dtypes
import numpy as np
import peft
import pytest
import torch
import transformers

from kerastune.adapter import base_of, read_peft, write_peft
from kerastune.config import ModelSpec
from kerastune.converting import convert
from kerastune.errors import AdapterError, ConfigError, OutputError
from kerastune.keras_stack import KerasStack
from kerastune.keras_stack.lora_file import read_lora_file
from kerastune.lora import Factors

IDS = np.array([[2, 40, 51, 62, 73, 84, 95, 106]])
QUERY_AND_VALUE = ("query", "value")
ALL = (*QUERY_AND_VALUE, "key", "attention_output", "ffw_gating", "ffw_gating_2", "ffw_linear")
QUERY = "model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def fresh(tiny_model):
    """A backbone of the tiny model, and what it computes."""

    def make():
        stack = KerasStack(ModelSpec(dtype="float32"), tiny_model)
        return stack.backbone, lambda: np.asarray(_logits(stack))

    return make


def _logits(stack):
    from kerastune.keras_stack.loss import LogitsModel

    return LogitsModel(stack.backbone).predict_on_batch(
        {"token_ids": IDS, "padding_mask": np.ones(IDS.shape, bool)}
    )


@pytest.fixture(scope="module")
def backbone(tiny_model):
    """The tiny model's backbone, on which no test puts anything."""
    return KerasStack(ModelSpec(dtype="float32"), tiny_model).backbone


@pytest.fixture(scope="module")
def trained(fresh, tmp_path_factory):
    """Keras' own adapter of rank 3 on some layers, with a B that is not zero, saved by KerasHub."""

    @functools.cache
    def make(targets=QUERY_AND_VALUE):
        backbone, logits = fresh()
        backbone.enable_lora(3, list(targets))
        draw = np.random.default_rng(0)
        for layer in backbone._flatten_layers():
            if getattr(layer, "lora_enabled", False):
                layer.lora_kernel_b.assign(0.3 * draw.standard_normal(layer.lora_kernel_b.shape))
        file = tmp_path_factory.mktemp("keras") / "mine.lora.h5"
        backbone.save_lora_weights(str(file))
        return file, logits()

    return make


def plain_peft(tiny_model, folder):
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, folder).eval()
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.numpy()


@pytest.mark.parametrize("targets", [QUERY_AND_VALUE, ALL])
def test_kerashubs_file_is_the_same_adapter_in_plain_peft(trained, tiny_model, tmp_path, targets):
    file, expected = trained(targets)
    done = convert(file, tmp_path / "adapter", model=str(tiny_model.path))
    assert (done.modules, done.losses) == (tiny_model.config["num_hidden_layers"] * len(targets), None)
    assert done.ranks == (3, 12)  # four query heads have an A each
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    assert base_of(tmp_path / "adapter") == tiny_model.base_id
    np.testing.assert_allclose(plain_peft(tiny_model, tmp_path / "adapter"), expected, atol=1e-5)


def test_it_comes_back_as_it_was(trained, fresh, tmp_path, tiny_model):
    file, expected = trained()
    convert(file, tmp_path / "adapter", model=str(tiny_model.path))
    done = convert(tmp_path / "adapter", tmp_path / "again.lora.h5")
    assert (done.ranks, done.keras_layers) == ((3,), ("query", "value"))
    with h5py.File(file) as before, h5py.File(tmp_path / "again.lora.h5") as after:
        names = []
        before.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        assert len(names) == 4 * tiny_model.config["num_hidden_layers"] + 1
        for name in names:
            np.testing.assert_array_equal(after[name][()], before[name][()])
    backbone, logits = fresh()
    backbone.load_lora_weights(str(tmp_path / "again.lora.h5"))  # enables query and value by itself
    np.testing.assert_allclose(logits(), expected, atol=1e-6)


def random_adapter(tiny_model, folder, rank=2, scale=1.0, seed=0):
    """An adapter that no Keras wrote, on every linear layer, written by plain PEFT's config."""
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    config = peft.LoraConfig(r=rank, lora_alpha=scale * rank, target_modules="all-linear")
    model = peft.get_peft_model(base, config)
    draw = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.1 * torch.randn(weight.shape, generator=draw)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("rank", "expected"), [(2, 8), (5, 16)])
def test_any_adapter_of_pefts_has_an_exact_keras_form(tiny_model, fresh, tmp_path, rank, expected):
    """At heads x rank, and at most a head's size of 16: what Keras shares between heads is told apart."""
    folder = random_adapter(tiny_model, tmp_path / "adapter", rank, scale=3.0)
    done = convert(folder, tmp_path / "it.lora.h5")
    assert (done.ranks, done.losses) == ((expected,), None)
    backbone, logits = fresh()
    backbone.enable_lora(done.ranks[0], list(done.keras_layers))
    backbone.load_lora_weights(str(tmp_path / "it.lora.h5"))
    np.testing.assert_allclose(logits(), plain_peft(tiny_model, folder), atol=2e-5)


def deltas(folder):
    return {m: f.alpha / f.rank * f.b.astype(np.float64) @ f.a for m, f in read_peft(folder).items()}


def test_compact_is_the_truncated_svd_with_its_error(trained, tiny_model, tmp_path):
    file, _ = trained(ALL)
    convert(file, tmp_path / "exact", model=str(tiny_model.path))
    done = convert(file, tmp_path / "small", model=str(tiny_model.path), compact=4)
    assert done.ranks == (3, 4)
    exact, small = deltas(tmp_path / "exact"), deltas(tmp_path / "small")
    errors, lost, whole = {}, 0.0, 0.0
    for module, delta in exact.items():
        left = np.linalg.svd(delta, compute_uv=False)[4:]
        errors[module] = np.linalg.norm(delta - small[module]) / np.linalg.norm(delta)
        assert errors[module] == pytest.approx(np.linalg.norm(left) / np.linalg.norm(delta), abs=1e-6)
        lost, whole = lost + np.sum(left**2), whole + np.sum(delta**2)
    module, worst = done.worst
    assert module.endswith("q_proj")
    assert worst == pytest.approx(max(errors.values()), rel=1e-5)
    assert done.error == pytest.approx(np.sqrt(lost / whole), rel=1e-5)


def test_compact_to_keras_is_the_best_of_its_rank(tiny_model, tmp_path):
    folder = random_adapter(tiny_model, tmp_path / "adapter")
    done = convert(folder, tmp_path / "it.lora.h5", compact=3)
    assert done.ranks == (3,)
    update = read_peft(folder)[QUERY]
    # Keras' form: the heads' inputs stand on each other, and the outputs of a head are the columns.
    stacked = (update.b @ update.a).reshape(4, 16, 32).transpose(0, 2, 1).reshape(4 * 32, 16)
    values = np.linalg.svd(stacked, compute_uv=False)
    expected = np.linalg.norm(values[3:]) / np.linalg.norm(values)
    assert done.losses[QUERY].error == pytest.approx(expected, rel=1e-4)
    assert done.losses[QUERY.replace("q_proj", "o_proj")].error == 0


def test_other_ranks_and_scales_share_a_file(tiny_model, fresh, tmp_path):
    folder = random_adapter(tiny_model, tmp_path / "adapter")
    factors = read_peft(folder)
    value = QUERY.replace("q_proj", "v_proj")
    for number, module in enumerate(m for m in factors if m.endswith("v_proj")):
        factors[module] = Factors(factors[value].a[:1], factors[value].b[:, :1], alpha=0.5 + number)
    write_peft(folder, factors, tiny_model.base_id)
    done = convert(folder, tmp_path / "it.lora.h5")
    backbone, logits = fresh()
    backbone.enable_lora(done.ranks[0], list(done.keras_layers))
    backbone.load_lora_weights(str(tmp_path / "it.lora.h5"))
    np.testing.assert_allclose(logits(), plain_peft(tiny_model, folder), atol=2e-5)


def rewritten(trained, folder, change):
    file = shutil.copy(trained()[0], folder / "mine.lora.h5")
    with h5py.File(file, "a") as opened:
        change(opened["lora"])
    return file


def first(lora):
    return min((name for name in lora if name != "vars"), key=int)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lora: lora.move(first(lora), "0"), "layer 0, token_embedding, which is no linear layer"),
        (lambda lora: lora.move(first(lora), "999"), "adapts layer 999, expected a number below "),
        (lambda lora: lora.move(first(lora), "query"), "adapts layer query, expected a number below "),
        (lambda lora: lora.pop(first(lora)), "the adapter does not fit the base: missing ['model.layers.0."),
        (lambda lora: lora["vars"].pop("rank"), "damaged, or not written by save_lora_weights ('no "),
        (lambda lora: lora[first(lora)]["vars"].pop("lora_kernel_b"), "damaged, or not written by"),
        (lambda lora: lora["vars"]["rank"].write_direct(np.array(5)), "/value: expected lora_kernel_a of"),
        (lambda lora: lora.__setitem__("3", h5py.ExternalLink("other.h5", "/")), "3 is a link"),
        (lambda lora: lora.__setitem__("3", h5py.SoftLink("/lora/vars")), "3 is a link"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_in_one_line(trained, backbone, tmp_path, change, said):
    with pytest.raises(AdapterError) as caught:
        read_lora_file(rewritten(trained, tmp_path, change), backbone)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 100, 3000])
def test_a_cut_file_is_refused(trained, backbone, tmp_path, kept):
    file = tmp_path / "mine.lora.h5"
    file.write_bytes(trained()[0].read_bytes()[:kept])
    with pytest.raises(AdapterError, match=r"mine\.lora\.h5: damaged, or not written by") as caught:
        read_lora_file(file, backbone)
    assert "\n" not in str(caught.value)


def test_bfloat16_of_older_keras_is_read(trained, backbone, tmp_path):
    def halve(lora):
        for name in set(lora) - {"vars"}:
            inner = lora[name]["vars"]
            halved = inner.pop("lora_kernel_b")[()].astype(ml_dtypes.bfloat16)
            inner.create_dataset("lora_kernel_b", data=halved).attrs["dtype"] = (
                "bfloat16"  # as H5IOStore does
            )

    exact = read_lora_file(trained()[0], backbone)
    rounded = read_lora_file(rewritten(trained, tmp_path, halve), backbone)
    for module, update in exact.items():
        expected = update.b.astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(rounded[module].b, expected)


def with_config(folder, **changes):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))


def test_adapters_without_a_keras_form_are_refused(tiny_model, tmp_path):
    folder = random_adapter(tiny_model, tmp_path / "adapter")
    factors = read_peft(folder)
    magnitude = np.ones(factors[QUERY].b.shape[0], np.float32)
    dora = {m: Factors(f.a, f.b, f.alpha, magnitude if m == QUERY else None) for m, f in factors.items()}
    write_peft(tmp_path / "dora", dora, tiny_model.base_id)
    embedding = {"model.embed_tokens": Factors(np.ones((2, 9)), np.ones((32, 2)), 2.0)}
    write_peft(tmp_path / "embedding", {**factors, **embedding}, tiny_model.base_id)
    write_peft(
        tmp_path / "narrow", {m: Factors(f.a[:, :5], f.b, 1) for m, f in factors.items()}, tiny_model.base_id
    )
    shutil.copytree(folder, tmp_path / "nameless")
    with_config(tmp_path / "nameless", base_model_name_or_path=None)
    for name, said in (
        ("dora", f"{QUERY}: has DoRA's magnitudes, for which Keras' file has no place; merge it"),
        ("embedding", r"unexpected \['model.embed_tokens'\]"),
        ("narrow", r"expected an update of shape \(.*\), received \(.*, 5\)"),
        ("nameless", "names no base model; write the base's id"),
        ("absent", "expected a .lora.h5 file or an adapter's folder, received neither"),
    ):
        with pytest.raises(AdapterError, match=said):
            convert(tmp_path / name, tmp_path / "it.lora.h5")
    assert not (tmp_path / "it.lora.h5").exists()


def test_options_that_are_refused(trained, tiny_model, tmp_path):
    file, _ = trained()
    with pytest.raises(ConfigError, match="names no base; give the one it was trained on with --model"):
        convert(file, tmp_path / "adapter")
    with pytest.raises(ConfigError, match="compact: expected a rank of 1 or more, received 0"):
        convert(file, tmp_path / "adapter", model=str(tiny_model.path), compact=0)
    with pytest.raises(OutputError, match="the folder is not empty; choose another --out"):
        convert(file, file.parent, model=str(tiny_model.path))
    random_adapter(tiny_model, tmp_path / "adapter")
    with pytest.raises(OutputError, match=r"it\.h5: expected a file's name that ends in \.lora\.h5"):
        convert(tmp_path / "adapter", tmp_path / "it.h5")


def test_alpha_of_enable_lora_is_its_rank():
    """The file has no scale because it is 1."""
    for layer in (keras.layers.Dense(2), keras.layers.EinsumDense("bd,de->be", 2)):
        layer.build((None, 4))
        layer.enable_lora(3)
        assert layer.lora_alpha / layer.lora_rank == 1
