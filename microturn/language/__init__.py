"""Language: the words that are heard and said, how people put their requests, and the tokenizer of it all."""
