"""The words of the engine as plain Python and NumPy. Imports nothing else of Tercet."""
