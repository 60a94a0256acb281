"""The served models."""
