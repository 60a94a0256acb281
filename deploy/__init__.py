"""How Tercet is run: locally, in containers, in clusters."""
