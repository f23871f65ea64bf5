"""What torchrun says of a process, and what is refused without the others."""

import pytest

from hf_bridge import processes as connected
from kerastune.cli import main
from kerastune.config import ModelSpec
from kerastune.errors import ConfigError
from kerastune.launching import Launch, find_launch, processes
from kerastune.stack import load_stack

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def launched(monkeypatch):
    """Set what torchrun sets."""

    def launch(rank="0", local_rank="0", size="2", local_size="2"):
        values = (rank, local_rank, size, local_size, "127.0.0.1", "1")
        for name, value in zip(NAMES, values, strict=True):
            monkeypatch.setenv(name, value)

    return launch


def test_a_process_finds_its_place(launched):
    launched("5", "1", "8", "4")
    assert find_launch() == Launch(rank=5, size=8, local_rank=1, local_size=4)


def test_one_process_is_no_launch(launched, monkeypatch):
    launched(size="1", local_size="1")
    assert find_launch() is None
    launched()
    monkeypatch.delenv("MASTER_PORT")
    assert find_launch() is None
    with processes():
        pass


def test_variables_that_are_no_numbers_are_refused(launched):
    launched(size="two")
    with pytest.raises(ConfigError, match="received 0, two, 0, 2; unset them"):
        find_launch()


def test_the_keras_stack_is_refused_with_the_way_out(launched, tiny_model):
    launched()
    with pytest.raises(ConfigError, match=r"stack .keras.: expected one process.*received 2.*--mesh"):
        load_stack(ModelSpec(stack="keras"), tiny_model)


def test_a_process_that_has_not_met_the_others_is_refused(launched, tiny_model):
    launched()
    with pytest.raises(ConfigError, match=r"with kerastune\.processes\(\):"):
        load_stack(ModelSpec(stack="hf"), tiny_model)


@pytest.mark.parametrize("local_rank", ["0", "1"])
def test_more_processes_than_gpus_are_refused_once(launched, monkeypatch, capsys, local_rank):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    launched(local_rank, local_rank)
    if local_rank == "0":
        assert main(["--help"]) == 2
    else:
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
        assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("2 processes were started on a machine with 1 GPU(s)") == int(local_rank == "0")


def test_nothing_is_joined_by_itself():
    with pytest.raises(ConfigError):
        connected.joined()


@pytest.mark.parametrize(
    "options", [{"stack": "keras"}, {"stack": "hf", "quantize": "nf4"}], ids=["keras", "quantised"]
)
def test_shard_is_for_a_plain_base_of_the_hf_stack(options):
    with pytest.raises(ConfigError, match="shard: expected none but on the hf stack without quantize"):
        ModelSpec(shard="fsdp", **options)
