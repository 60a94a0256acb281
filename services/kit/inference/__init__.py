"""Models: encoded images in; boxes, RLE and probabilities out."""
