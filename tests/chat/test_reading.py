"""Rows of dialogues: every form that is taken, every row that is refused, with its line and the way out."""

import json
import unicodedata

import pytest

from kerastune.chat.reading import read_dialogues
from kerastune.errors import DataError, TemplateError

GOOD = {"id": "a", "messages": [{"role": "user", "content": "안녕"}, {"role": "assistant", "content": "네"}]}


def exchange(user="안녕", answer="네", system=None):
    head = [] if system is None else [("system", system)]
    return [*head, ("user", user), ("assistant", answer)]


@pytest.fixture
def write(tmp_path):
    def make(*rows, name="chat.jsonl"):
        path = tmp_path / name
        lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        (GOOD, exchange()),
        ({"prompt": "안녕", "completion": "네"}, exchange()),
        ({"prompt": "안녕", "completion": "네", "system": "짧게"}, exchange(system="짧게")),
        ({"instruction": "더해라", "input": "1+1", "output": "2"}, exchange("더해라\n\n1+1", "2")),
        ({"instruction": "인사해라", "input": "", "output": "안녕"}, exchange("인사해라", "안녕")),
        ({"instruction": "인사해라", "output": "안녕"}, exchange("인사해라", "안녕")),
        (
            {"conversations": [{"from": "human", "value": "안녕"}, {"from": "gpt", "value": "네"}]},
            exchange(),
        ),
    ],
)
def test_forms_of_a_chat_row(write, row, turns):
    rows = read_dialogues(write(row))
    assert [(one.role, one.content) for one in rows.dialogues[0].messages] == turns
    assert (rows.left, rows.nfc_rows, rows.lines) == ((), 0, (1,))


def test_rows_of_one_file_may_be_of_several_forms(write):
    rows = read_dialogues(write(GOOD, {"prompt": "안녕", "completion": "네"}))
    assert rows.ids == ("a", "2")
    assert rows.dialogues[0] == rows.dialogues[1]


def test_context_and_question(write):
    rows = read_dialogues(write({"id": 7, "context": "주장", "question": "왜?"}), "context-question")
    assert rows.ids == ("7",)
    assert [(one.role, one.content) for one in rows.dialogues[0].messages] == exchange("주장", "왜?")


def test_a_table_of_fields(write):
    path = write("id\tcontext\tquestion", 'q1\t"주장"\t왜?', name="qa.tsv")
    rows = read_dialogues(path, "context-question")
    assert rows.dialogues[0].messages[0].content == '"주장"'
    assert rows.where(0) == f"{path}, line 2"


def test_nfd_rows_are_counted(write):
    nfd = json.loads(unicodedata.normalize("NFD", json.dumps(GOOD, ensure_ascii=False)))
    rows = read_dialogues(write(nfd, {**GOOD, "id": "b"}))
    assert (rows.nfc_rows, rows.dialogues[0]) == (1, rows.dialogues[1])


BAD = {
    "message 2: expected the role 'assistant', received 'user'": {"messages": [GOOD["messages"][0]] * 2},
    "expected a message of the assistant's, received none": {"messages": GOOD["messages"][:1]},
    "message 2: its content is empty": {
        "messages": [GOOD["messages"][0], {"role": "assistant", "content": " "}]
    },
    "message 1: unknown role 'tool'": {"messages": [{"role": "tool", "content": "x"}]},
    "expected the columns messages or conversations or prompt+completion or": {"text": "안녕"},
    "'messages': expected a list of messages, received str": {"messages": "안녕"},
    "'prompt': empty": {"prompt": "", "completion": "네"},
    "'completion': expected text, received int": {"prompt": "안녕", "completion": 3},
    "'id': expected text or a whole number as id, received None": {**GOOD, "id": None},
    "the id 'a' is already that of another row": GOOD,
    "not JSON: Expecting value": "not json",
    "a blank line inside the table": "",
    "the key 'id' is there twice": '{"id": 1, "id": 2}',
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_refused_with_its_line_and_the_way_out(write, reason):
    path = write(GOOD, BAD[reason], {**GOOD, "id": "z"})
    with pytest.raises(DataError, match=r"--skip-bad-rows leaves such rows out$") as refused:
        read_dialogues(path)
    assert str(refused.value).startswith(f"{path}, line 2")
    assert reason in str(refused.value)


def test_bad_rows_are_skipped_and_listed_on_request(write):
    path = write(GOOD, *BAD.values(), {**GOOD, "id": "z"})
    rows = read_dialogues(path, skip_bad_rows=True)
    assert (rows.ids, rows.lines) == (("a", "z"), (1, len(BAD) + 2))
    assert len(rows.left) == len(BAD)
    for line, (reason, message) in enumerate(zip(BAD, rows.left, strict=True), start=2):
        assert f"line {line}" in message
        assert reason in message


def test_nothing_left(write):
    path = write(*BAD.values())
    with pytest.raises(
        DataError, match=r"expected one dialogue at least, .*12 rows were left out, the first: "
    ):
        read_dialogues(write(*[row for row in BAD.values() if row is not GOOD]), skip_bad_rows=True)
    assert path.exists()


def test_no_such_task_of_texts(write):
    with pytest.raises(TemplateError, match="'review-sentiment' has labels and no texts for answers"):
        read_dialogues(write(GOOD), "review-sentiment")
    with pytest.raises(TemplateError, match="unknown task 'talk'; there are: review-sentiment, chat"):
        read_dialogues(write(GOOD), "talk")


def test_take(write):
    rows = read_dialogues(write(GOOD, {**GOOD, "id": "b"})).take([1])
    assert (rows.ids, rows.lines, len(rows)) == (("b",), (2,), 1)
