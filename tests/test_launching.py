"""What torchrun or Keras' variables say of a process, and what is refused without the others."""

import pytest

from kerastune.cli import main
from kerastune.config import ModelSpec
from kerastune.errors import ConfigError
from kerastune.group import joined
from kerastune.launching import Launch, find_launch, processes
from kerastune.stack import load_stack

HOSTS = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
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


@pytest.fixture
def hosted(monkeypatch):
    """Set what `keras.distribution.initialize` reads; None leaves one out."""

    def host(*values):
        for name, value in zip(HOSTS, values, strict=True):
            if value is not None:
                monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)

    return host


@pytest.mark.parametrize("addresses", ["first:123", "first:123,10.0.0.2:123,third:123"])
def test_a_host_finds_its_place(hosted, addresses):
    hosted(addresses, "3", "2")
    launch = find_launch()
    assert (launch.rank, launch.size, launch.stack, launch.addresses) == (2, 3, "keras", addresses)


def test_one_host_is_no_launch(hosted):
    hosted("first:123", "1", "0")
    assert find_launch() is None


@pytest.mark.parametrize(
    "values",
    [
        (None, "2", "0"), ("first:1", None, "0"), ("first:1", "2", None), ("first", "2", "0"),
        ("first:1", "2", "2"), ("first:1", "two", "0"), ("first:1", "2", "-1"), ("a:1,b:1", "3", "0"),
    ],
)  # fmt: skip
def test_hosts_that_are_half_said_are_refused(hosted, values, capsys):
    hosted(*values)
    assert main(["--help"]) == 2
    said = capsys.readouterr().err
    assert "expected the first host's address:port" in said
    assert f"received {', '.join(repr(value or '') for value in values)}" in said


def test_the_hf_stack_is_refused_on_hosts(hosted, tiny_model):
    hosted("first:123", "2", "0")
    with pytest.raises(
        ConfigError, match=r"stack .hf.: expected one process or torchrun, received 2 by Keras"
    ):
        load_stack(ModelSpec(stack="hf"), tiny_model)


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
        joined()


@pytest.mark.parametrize(
    "options", [{"stack": "keras"}, {"stack": "hf", "quantize": "nf4"}], ids=["keras", "quantised"]
)
def test_shard_is_for_a_plain_base_of_the_hf_stack(options):
    with pytest.raises(ConfigError, match="shard: expected none but on the hf stack without quantize"):
        ModelSpec(shard="fsdp", **options)
