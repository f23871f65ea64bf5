"""The policy on faked devices: what is chosen, why, and what a user is warned of."""

from types import SimpleNamespace

import pytest

from kerastune.errors import ConfigError
from kerastune.precision import Hardware, decide_dtype, gpu_device, torch_device

T4, P100 = gpu_device("Tesla T4", 7.5), gpu_device("Tesla P100", 6.0)
L4, A100, H100 = gpu_device("L4", 8.9), gpu_device("A100", 8.0), gpu_device("H100", 9.0)
CPU, AMX = Hardware("cpu", False, "cpu"), Hardware("cpu", True, "cpu with AMX")
TPU = Hardware("tpu", True, "TPU v5e")
FAMILIES = ("gemma", "gemma2", "gemma3_text", "Gemma3Backbone", "llama", "qwen3", "mistral")


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [
        (T4, "float32", "Tesla T4 (compute capability 7.5) only emulates bfloat16"),
        (P100, "float32", "Tesla P100 (compute capability 6.0) only emulates bfloat16"),
        (L4, "bfloat16", "L4 (compute capability 8.9) multiplies bfloat16"),
        (A100, "bfloat16", "A100 (compute capability 8.0) multiplies bfloat16"),
        (H100, "bfloat16", "H100 (compute capability 9.0) multiplies bfloat16"),
        (TPU, "bfloat16", "TPU v5e multiplies bfloat16"),
        (CPU, "float32", "bfloat16 is no faster on this cpu"),
        (AMX, "bfloat16", "cpu with AMX multiplies bfloat16"),
    ],
)
def test_auto(device, dtype, reason, model_type):
    assert decide_dtype("auto", device, model_type) == (dtype, reason, None)


@pytest.mark.parametrize("device", [T4, A100, CPU, TPU])
@pytest.mark.parametrize("model_type", ["gemma2", "gemma3", "gemma3_text", "Gemma3Backbone"])
def test_float16_where_it_overflows_is_refused_whoever_asks(device, model_type):
    with pytest.raises(ConfigError, match=f"float16 overflows in {model_type}; choose bfloat16 or float32"):
        decide_dtype("float16", device, model_type)


def test_what_a_user_asks_for_is_taken_with_a_warning():
    dtype, reason, warning = decide_dtype("bfloat16", T4, "gemma3_text")
    assert (dtype, reason) == ("bfloat16", "asked for")
    assert warning.startswith("Tesla T4 (compute capability 7.5) only emulates bfloat16, which is slow")
    assert "may overflow" in decide_dtype("float16", A100, "llama").warning
    for device, asked in ((A100, "bfloat16"), (T4, "float32"), (CPU, "float32"), (CPU, "bfloat16")):
        assert decide_dtype(asked, device, "llama") == (asked, "asked for", None)


def test_the_warning_is_logged_once_it_is_said(caplog):
    decide_dtype("bfloat16", T4, "llama").said()
    decide_dtype("auto", T4, "llama").said()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith("dtype bfloat16: Tesla T4")


@pytest.mark.parametrize(
    ("capability", "fast"), [((7, 5), False), ((6, 0), False), ((8, 0), True), ((9, 0), True)]
)
def test_torch_is_asked_for_the_capability_and_not_for_bfloat16(monkeypatch, capability, fast):
    import torch

    cuda = SimpleNamespace(
        is_available=lambda: True,
        is_bf16_supported=lambda: pytest.fail("it says yes on a T4"),
        get_device_capability=lambda: capability,
        get_device_name=lambda: "faked",
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    assert torch_device() == ("gpu", fast, "faked", capability[0] + capability[1] / 10)


@pytest.mark.parametrize(("capability", "fast"), [("7.5", False), ("8.6", True)])
def test_jax_is_asked_for_the_capability(monkeypatch, capability, fast):
    import jax

    from kerastune.keras_stack.backend import device

    gpu = SimpleNamespace(platform="gpu", device_kind="faked", compute_capability=capability)
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    assert device("jax") == ("gpu", fast, "faked", float(capability))
    tpu = SimpleNamespace(platform="tpu", device_kind="TPU v4")
    monkeypatch.setattr(jax, "devices", lambda: [tpu])
    assert device("jax") == ("tpu", True, "TPU v4", None)


@pytest.mark.parametrize(("capability", "fast"), [((7, 5), False), ((8, 0), True)])
def test_tensorflow_is_asked_for_the_capability(monkeypatch, capability, fast):
    import tensorflow as tf

    from kerastune.keras_stack.backend import device

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["GPU"])
    details = {"compute_capability": capability, "device_name": "faked"}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)
    assert device("tensorflow") == ("gpu", fast, "faked", capability[0] + capability[1] / 10)
