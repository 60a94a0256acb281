"""Judges masks, pairs and negatives, and scores them."""
