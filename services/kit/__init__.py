"""The plumbing that every service shares: small ports, each with a real and an embedded adapter."""
