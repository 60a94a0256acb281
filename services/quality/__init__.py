"""Measures the served models and stage 3 as a whole on held-out scenes, and calibrates the score.

Like the one-process mode it composes every service, so it stands beside the services and nothing imports it.
"""
