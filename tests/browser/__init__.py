"""The page in a real browser, over the real gateway and services with the bundled models."""
