"""SAM 3 (Carion et al., 2025): phrases to instance masks, in place of the grounder and sam together."""
