"""Training of the bundled networks."""
