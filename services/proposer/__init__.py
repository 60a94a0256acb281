"""Proposes what may be in an image: class-agnostic regions, phrases, hard-negative candidates."""
