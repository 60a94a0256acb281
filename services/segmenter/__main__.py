"""`python -m services.segmenter`: the segmenter as a process of its own."""

from __future__ import annotations

from services.kit.process import run
from services.segmenter.bootstrap import build
from services.segmenter.settings import SegmenterSettings

if __name__ == "__main__":
    run("segmenter", SegmenterSettings, build)
