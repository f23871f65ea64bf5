"""Bytes, what fits, and what is said where it does not."""

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerastune.cli import main
from kerastune.config import LoraSpec, RunConfig
from kerastune.console import print_plan
from kerastune.devices import Device, _container_limit, get_device, this_machine
from kerastune.planning import Shape, Work, estimate, known_shape, plan_training
from kerastune.planning.memory import activation_bytes, state_bytes, weight_bytes
from kerastune.planning.runtimes import runtime_of

WORK = Work(
    shape=known_shape("google/gemma-3-270m"), lora=LoraSpec(), stack="hf", backend="torch", dtype="float32",
    batch_size=4, length=128, answers=1, choices=2, stored_dtype="float32",
)  # fmt: skip


def device(memory):
    return Device("a box", "cpu", int(memory), fast_bfloat16=False)


def test_weights_and_state():
    shape = known_shape("google/gemma-2b")
    assert weight_bytes(shape, "float32") == 4 * 2_506_172_416
    four_bits = weight_bytes(shape, "bfloat16", "int4") - 2 * (shape.parameters - shape.backbone)
    # A number for each output: those of a layer are its query, key, value, attention, gate, up and down.
    assert four_bits == shape.backbone // 2 + 18 * 4 * (2048 + 256 + 256 + 2048 + 16_384 + 16_384 + 2048)
    sizes = [weight_bytes(shape, "bfloat16", kind) for kind in ("int4", "nf4", "int8", None)]
    assert sizes == sorted(sizes)
    assert state_bytes(1000) == 16_000
    assert state_bytes(1000, accumulate=4) == 20_000


def test_activations_are_what_torch_saves(make_tiny_model):
    """Counted by torch's hooks on a small Gemma 3 in float32, one row of 64 tokens and one of 128."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = dict(make_tiny_model().config) | {"hidden_size": 64, "intermediate_size": 256, "head_dim": 32}
    shape = Shape.of_config(config)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="sdpa")
    model.requires_grad_(False)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=list(shape.linear))).base_model.model.model
    weights = {parameter.untyped_storage().data_ptr() for parameter in adapted.parameters()}

    def saved(length):
        kept = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = (storage.nbytes(), storage)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = adapted(input_ids=torch.zeros((1, length), dtype=torch.long), use_cache=False)
        del result
        return sum(size for size, _ in kept.values())

    def ours(length):
        return activation_bytes(shape, LoraSpec(rank=4), 1, length, "float32", whole_attention=False)

    assert ours(128) - ours(64) == pytest.approx(saved(128) - saved(64), rel=0.35)


@given(st.integers(3 * 10**9, 10**11), st.integers(1, 64))
def test_the_largest_batch_fits_and_one_more_does_not(memory, batch_size):
    plan = estimate(replace(WORK, batch_size=batch_size), device(memory))
    assert plan.fits == (batch_size <= plan.largest_batch)
    at = {rows: estimate(replace(WORK, batch_size=rows), device(memory)) for rows in (0, 1)}
    assert estimate(replace(WORK, batch_size=max(plan.largest_batch, 1)), device(memory)).fits == bool(
        plan.largest_batch
    )
    assert not estimate(replace(WORK, batch_size=plan.largest_batch + 1), device(memory)).fits
    assert at[1].training - at[0].training > 0


def test_a_plan_grows_with_what_is_asked():
    plan = estimate(WORK, device(1e12))
    assert plan.training == plan.weights + plan.state + plan.activations + plan.logits + plan.runtime
    assert plan.weights == 4 * 268_098_176
    assert plan.state == 16 * WORK.shape.trainable(WORK.lora)
    whole = estimate(replace(WORK, answers=127, choices=0), device(1e12))
    assert whole.logits == 4 * 127 * 262_144 * 4 * runtime_of("hf", "torch", "cpu").logits
    assert whole.flops > plan.flops
    assert estimate(replace(WORK, accumulate=3), device(1e12)).flops == 3 * plan.flops
    half = estimate(replace(WORK, dtype="bfloat16", stored_dtype="bfloat16"), device(1e12))
    assert half.weights == plan.weights // 2
    assert half.activations < plan.activations


def test_what_is_said_where_it_does_not_fit():
    fits = estimate(replace(WORK, batch_size=3), device(1e12))
    assert fits.fits
    plan = estimate(replace(WORK, batch_size=8), device(fits.peak))
    assert not plan.fits
    assert plan.warning.startswith(f"8 rows of 128 tokens need about {plan.peak / 1e9:.1f} GB, and a box has")
    assert plan.warning.endswith("is --batch-size 3 (with --accumulate 3 the steps stay as large)")
    assert "not one row fits" in estimate(WORK, device(1e9)).warning


def test_options_become_a_plan():
    config = RunConfig().with_options(
        {"model": "google/gemma-2-2b", "stack": "hf", "batch_size": 2, "loss_on": "all"}
    )
    plan = plan_training(config, length=64, device="t4")
    assert (plan.work.dtype, plan.work.answers, plan.work.choices) == ("float32", 63, 0)
    assert plan_training(config, length=64, device="l4").work.dtype == "bfloat16"
    label = plan_training(config.with_options({"loss_on": "label"}), device="24")
    assert (label.work.length, label.work.choices, label.device.memory) == (256, 2, 24 * 10**9)


def test_the_command(capsys):
    words = ["plan", "--model", "google/gemma-2b", "--rank", "4", "--targets", "query,value"]
    assert main([*words, "--stack", "hf", "--batch-size", "1", "--length", "512", "--device", "t4"]) == 0
    printed = capsys.readouterr().out
    assert "2,506,172,416" in printed
    assert "460,800" in printed
    assert "largest batch that fits" in printed
    for flags, said in (
        (["--device", "t5"], "device: expected t4, l4, "),
        (
            ["--device", "t4", "--quantize", "int3"],
            "quantize: expected 'nf4' or 'int8' or 'int4' or 'none', ",
        ),
        (["--device", "t4", "--length", "1"], "length: expected 2 or more, received 1"),
    ):
        assert main([*words, *flags]) == 2
        assert said in capsys.readouterr().err


def test_train_warns_first_and_prints_the_plan(train_tiny, monkeypatch, caplog, capsys):
    monkeypatch.setattr("kerastune.stack.this_machine", lambda: device(1e9))
    plans = []
    with caplog.at_level(logging.WARNING):
        train_tiny(epochs=1, on_plan=plans.append)
    (said,) = [record.message for record in caplog.records if record.name == "kerastune.fine_tuning"]
    assert said.startswith("5 rows of ")
    assert "not one row fits" in said
    (plan,) = plans
    assert plan.memory.trainable == plan.info.trainable
    assert plan.memory.parameters == plan.info.parameters
    assert not plan.memory.fits
    print_plan(plan)
    assert f"memory    about {plan.memory.peak / 1e9:.1f} GB, of 1.0 GB on a box" in capsys.readouterr().out


def test_devices(tmp_path):
    assert get_device("24GB") == get_device("24")
    here = this_machine()
    assert 0 < here.memory < 2**50
    group = tmp_path / "a" / "b"
    group.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/a/b\n")
    assert _container_limit(tmp_path, tmp_path / "own") == 2**63 - 1
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "a" / "memory.max").write_text("3000\n")
    (group / "memory.max").write_text("5000\n")
    assert _container_limit(tmp_path, tmp_path / "own") == 3000


def test_each_device_of_a_mesh_has_its_part():
    def planned(mesh, device="h100", batch_size=16):
        options = {"model": "llama-3-8b", "batch_size": batch_size, "mesh": mesh}
        return plan_training(RunConfig().with_options(options), length=64, device=device)

    one, copies, parts = planned(None, batch_size=8), planned("data=2"), planned("data=2,model=4")
    shape = known_shape("llama-3-8b")
    norms = (2 * shape.layers + 1) * shape.width
    assert parts.weights == 2 * ((shape.parameters - norms) // 4 + norms)
    assert (copies.weights, copies.state) == (one.weights, one.state)
    assert (copies.activations, copies.logits) == (one.activations, one.logits)
    assert copies.flops == parts.flops == 2 * one.flops
    assert copies.largest_batch == 2 * one.largest_batch
    assert planned("data=2", batch_size=15).flops == copies.flops  # a row of zero weight fills up
    # Simulated devices have one memory.
    assert planned("data=2,model=4", "cpu").weights == pytest.approx(
        2 * planned(None, "cpu").weights, rel=1e-3
    )


def test_the_printed_plan_says_what_it_is_of(capsys):
    words = ["plan", "--model", "gemma-2b", "--device", "h100", "--batch-size", "8", "--mesh"]
    assert main([*words, "data=2,model=2"]) == 0
    assert "each of 4 devices, data=2,model=2" in " ".join(capsys.readouterr().out.split())
