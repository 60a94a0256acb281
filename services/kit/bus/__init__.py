"""The bus: topics of keyed records, consumed, transformed and produced in transactions."""
