"""Object storage: images, annotations of record and exports."""
