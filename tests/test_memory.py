"""Every framework's way to say that memory ran out becomes one line of ours."""

import pytest

from kerastune.config import LoraSpec
from kerastune.devices import Device
from kerastune.errors import ConfigError, ModelError
from kerastune.memory import explained_loading_errors, explained_memory_errors
from kerastune.planning import Work, estimate, known_shape

FAKES = [
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: "
                 "you tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 1073741824 bytes."),
    ValueError("INTERNAL: No reference output found!"),
    RuntimeError("INTERNAL: Failed to allocate 17179869184 bytes for new constant"),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
]  # fmt: skip


@pytest.fixture
def plan():
    work = Work(
        shape=known_shape("google/gemma-3-270m"), lora=LoraSpec(), stack="hf", backend="torch",
        dtype="float32", batch_size=64, length=128, choices=2,
    )  # fmt: skip
    return estimate(work, Device("a box", "cpu", 4 * 10**9, fast_bfloat16=False))


@pytest.mark.parametrize("error", FAKES, ids=str)
def test_a_step(error, plan):
    with pytest.raises(ModelError) as caught, explained_memory_errors(64, 128, "batch_size", plan):
        raise error
    assert str(caught.value) == (
        "out of memory at 64 rows of 128 tokens; lower batch_size or max_length (planned: "
        f"{plan.peak / 1e9:.1f} GB of 4.0 GB on a box, where {plan.largest_batch} rows fit)"
    )
    assert caught.value.__cause__ is error
    assert 0 < plan.largest_batch < 64


@pytest.mark.parametrize("error", FAKES, ids=str)
def test_loading(error):
    def load():
        try:
            raise error
        except Exception as caught:  # as a stack says it
            raise ModelError("m: cannot be loaded") from caught

    said = r"^out of memory while the model was loaded; .*bfloat16$"
    with pytest.raises(ModelError, match=said), explained_loading_errors():
        load()


@pytest.mark.parametrize("error", [ConfigError("backend"), KeyError("x"), ModelError("m: is damaged")])
def test_everything_else_is_left_as_it_is(error):
    for explained in (explained_memory_errors(1, 2, "batch_size"), explained_loading_errors()):
        with pytest.raises(type(error)) as caught, explained:
            raise error
        assert caught.value is error
