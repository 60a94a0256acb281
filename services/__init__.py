"""Tercet: a three-stage data engine for concept segmentation."""
