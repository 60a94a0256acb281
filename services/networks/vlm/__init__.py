"""Public vision-language models of Hugging Face directories as concept proposer and as verifier."""
