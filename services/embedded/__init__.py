"""The one-process mode: the gateway, every service and the models together, over the embedded adapters.

A composition root: it alone may import every service and the gateway.
"""
