"""The dataset: job state, annotations of record, exports, reports."""
