"""The concept grounder: phrases to boxes and scores (OWLv2, Minderer et al., 2023)."""
