"""Turns phrases, clicks and boxes into instance masks."""
