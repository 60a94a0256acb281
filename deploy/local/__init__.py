"""The real stack on one machine, natively: Kafka, Redis, Triton and every service as supervised processes."""
