"""The networks: SAM, the concept grounder, the concept proposer and the verifier, in torch."""

from __future__ import annotations

import os

# Before torch loads OpenMP: threads that wait for each other sleep instead of spinning. Where several models
# or other
# programs share the cores, spinning made the same work take ten to twenty times as long. Set the variable to
# override.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
