"""The concept proposer: an image to noun phrases and hard negatives (LLaVA, Liu et al., 2023)."""
