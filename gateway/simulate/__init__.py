"""Annotators played by a program, through the REST API, on drawn scenes whose truth is known.

What a person sees is computed from the truth by the rules of `rules`, then spoilt at the rates of `mistakes`;
what each action takes is read from `costs`, with its source. Nothing waits: the time is accounted.
docs/simulation.md tells the whole.
"""
