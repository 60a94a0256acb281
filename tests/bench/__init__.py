"""`make bench`: the pipeline's throughput beside the bare model calls, and where the rest goes."""
