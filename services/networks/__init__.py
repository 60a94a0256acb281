"""The networks: SAM, the concept grounder, the concept proposer and the verifier, in torch."""
