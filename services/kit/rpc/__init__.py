"""gRPC between the services: server, channels, and core errors over the wire."""
