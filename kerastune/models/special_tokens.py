"""Special tokens by the names that open models give them."""

#: Tokens that end a turn of a chat, and so a generation, whatever a model's configuration says.
TURN_END_TOKENS = ("<end_of_turn>", "<|eot_id|>", "<|im_end|>")

#: Tokens that begin a turn; none of them may come out of a user's own text.
TURN_START_TOKENS = ("<start_of_turn>", "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>")

#: What begins and ends a text where a KerasHub preset does not say, the first that exists.
BEGIN_TOKENS = ("<bos>", "<|begin_of_text|>", "<s>")
END_TOKENS = ("<eos>", "<|end_of_text|>", "<|endoftext|>", "</s>")
PAD_TOKENS = ("<pad>", "<|finetune_right_pad_id|>")
