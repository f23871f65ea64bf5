"""The model card and the dataset card, read as the hub reads them."""

import pytest
from huggingface_hub import DatasetCard, ModelCard

from kerastune.adapter import WEIGHTS
from kerastune.calibration import Calibration
from kerastune.calibration.quality import Quality
from kerastune.calibration.value import FittedOn
from kerastune.cli import main
from kerastune.errors import AdapterError, ConfigError, DataError, OutputError
from kerastune.publishing import write_cards
from tests.publishing.conftest import PROMPT


@pytest.fixture
def calibrated(make_run):
    folder = make_run()
    quality = Quality(log_loss=0.5, ece=0.1, brier=0.2, accuracy=0.9, macro_f1=0.9)
    Calibration(
        labels=(0, 1), label_words=("별로|", "최고"), methods=("bias",), scale=0.5, bias=(0.25, -0.25),
        decision_offsets=(0.0, 0.0),
        fitted_on=FittedOn(rows=40, source="/home/secret/validation.tsv", sha256=None, metric="accuracy",
                           reason="", before=quality, after=quality),
    ).save(folder / "adapter")  # fmt: skip
    return folder


def test_the_metadata_are_those_that_the_hub_reads(make_run):
    path, _ = write_cards(make_run())
    data = ModelCard.load(path).data
    assert (data.base_model, data.library_name, data.license) == ("google/gemma-3-270m", "peft", "gemma")
    assert data.language == ["ko"]
    assert data.tags == ["kerastune", "lora", "review-sentiment"]
    results = {result.metric_type: result for result in data.eval_results}
    assert results["accuracy"].metric_value == 0.9
    assert results["accuracy"].dataset_name == "held_out"


def test_the_page_says_what_the_run_says(calibrated):
    path, _ = write_cards(calibrated)
    page = path.read_text(encoding="utf-8")
    assert f"````text\n{PROMPT}\n````" in page  # a fence longer than the prompt's own
    assert "| `0` | 별로\\| |" in page
    assert "| held_out | 10 | 0.900 | 0.596 to 0.982 |" in page  # Wilson's interval of 9 of 10
    assert "| `targets` | query |" in page
    assert "fitted on 40 rows of `validation.tsv`:\ntemperature 2.000, bias 0.25, -0.25" in page
    assert "3,796,992 trainable of 268,098,176 parameters, 4 steps in 12 seconds" in page
    assert "ai.google.dev/gemma/terms" in page
    assert "/home/secret" not in page
    assert page.endswith("|\n")


def test_a_base_of_no_known_licence_and_place(make_run):
    path, _ = write_cards(make_run(base_id="/home/me/other", measured=False), language="en")
    card = ModelCard.load(path)
    assert card.data.base_model is None
    assert card.data.license is None
    assert card.data.language == ["en"]
    assert "Not measured" in card.text
    assert "/home/me" not in card.content
    path, _ = write_cards(path.parent.parent, license="apache-2.0", overwrite=True)
    assert ModelCard.load(path).data.license == "apache-2.0"


def test_measures_of_another_adapter_are_left_out(make_run):
    folder = make_run()
    config = folder / "adapter" / "adapter_config.json"
    config.write_text(config.read_text() + "\n")
    assert "Not measured" in write_cards(folder)[0].read_text(encoding="utf-8")


def test_the_dataset_card_counts_and_leaves_to_its_owner_what_is_the_owners(make_run):
    _, path = write_cards(make_run())
    card = DatasetCard.load(path)
    assert card.data.pretty_name == "reviews"
    assert card.data.task_categories == ["text-classification"]
    assert "| `0` | 5 | 50.0 % |" in card.text
    assert card.text.count("*To be completed:*") == 4
    assert "/home/secret" not in card.content


def test_the_dataset_card_says_where_the_table_has_gone(make_run, reviews_file, tmp_path):
    folder = make_run()
    toml = folder / "config.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace(str(reviews_file), str(tmp_path / "gone.tsv")))
    page = write_cards(folder)[1].read_text(encoding="utf-8")
    assert "| rows | 10 |" in page
    assert "gone.tsv: no such file" in page


def test_a_card_that_is_there_is_replaced_only_when_asked_for(make_run):
    folder = make_run()
    path, dataset = write_cards(folder)
    assert write_cards(folder) == (path, dataset)  # the same again
    path.write_text("mine", encoding="utf-8")
    dataset.unlink()
    with pytest.raises(OutputError, match="a card is there already and says something else"):
        write_cards(folder)
    assert path.read_text(encoding="utf-8") == "mine"
    assert not dataset.exists()
    write_cards(folder, overwrite=True)
    assert path.read_text(encoding="utf-8") != "mine"


def test_what_is_no_trained_run_is_refused(make_run, tmp_path):
    with pytest.raises(ConfigError, match="no folder of a run"):
        write_cards(tmp_path)
    folder = make_run()
    (folder / "metrics.json").write_text('{"held_out": {}}')
    with pytest.raises(DataError, match=r"metrics.json: lacks or misstates a key: 'table'"):
        write_cards(folder)
    (folder / "adapter" / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match="the run trained nothing"):
        write_cards(folder)


def test_the_command(make_run, capsys):
    folder = make_run()
    assert main(["card", str(folder)]) == 0
    said = capsys.readouterr().out.replace("\n", "")
    assert "README.md" in said
    assert "dataset_card.md" in said
