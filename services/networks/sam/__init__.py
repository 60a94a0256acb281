"""SAM: points and boxes to masks, and everything-mode."""
