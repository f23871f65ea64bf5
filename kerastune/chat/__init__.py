"""Dialogues: their messages, the template that says them as text, and their ids and trained tokens."""

from kerastune.chat.encoding import ChatEncoder, make_chat_encoder
from kerastune.chat.messages import Dialogue, Message
from kerastune.chat.template import ChatTemplate, load_chat_template, own_template

__all__ = [
    "ChatEncoder",
    "ChatTemplate",
    "Dialogue",
    "Message",
    "load_chat_template",
    "make_chat_encoder",
    "own_template",
]
