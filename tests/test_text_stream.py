"""Text while it is written: never half a character, never half a grapheme, nothing lost."""

import regex
from hypothesis import given
from hypothesis import strategies as st

from kerastune.text_stream import stream_text
from tests.talking import ByteTokenizer

TEXTS = st.text(st.sampled_from("한국어 ㅋㅠ\u1100\u1161\u11a8e\u0301👨\u200d👩\u200d👧🇰🇷\n aé"), max_size=12)


@given(text=TEXTS | st.text(max_size=8))
def test_pieces_are_whole_graphemes_and_together_the_text(text):
    text = text.encode(errors="ignore").decode()
    pieces = list(stream_text(ByteTokenizer(), text.encode()))
    assert "".join(pieces) == text
    ends, place = set(), 0
    for grapheme in regex.findall(r"\X", text):
        place += len(grapheme)
        ends.add(place)
    shown = 0
    for piece in pieces:
        shown += len(piece)
        assert shown in ends


def test_a_syllable_comes_when_the_next_one_begins():
    read = []

    def tokens():
        for byte in "안녕히".encode():
            read.append(byte)
            yield byte

    shown = [(piece, len(read)) for piece in stream_text(ByteTokenizer(), tokens())]
    assert shown == [("안", 6), ("녕", 9), ("히", 9)]


def test_half_a_character_at_the_end_is_shown_as_what_it_is():
    assert "".join(stream_text(ByteTokenizer(), "가".encode()[:2])).startswith("\ufffd")
