"""The verifier: is this mask right, are these masks all there are, is this phrase absent?"""
