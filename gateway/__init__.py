"""The REST door of Tercet: uploads, job progress, annotations, exports and operations."""
