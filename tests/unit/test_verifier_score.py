"""The score's calibration beside the verifier's weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from services.networks.errors import ModelError
from services.networks.verifier.score import read_tables, write_tables

TABLES = {"positive": [(0.0, 0.1), (0.5, 0.5), (1.0, 0.97)], "negative": [(0.2, 0.0), (0.9, 1.0)]}


def test_tables_are_read_as_written_and_what_else_the_file_says_stays(tmp_path: Path) -> None:
    assert read_tables(tmp_path) is None
    (tmp_path / "tercet.json").write_text('{"temperatures": {"mv": 1.5}}', "utf-8")
    assert read_tables(tmp_path) is None
    path = write_tables(tmp_path, TABLES, {"scenes": 10})
    said = json.loads(path.read_text("utf-8"))
    assert said["temperatures"] == {"mv": 1.5}
    assert said["score"]["measured"] == {"scenes": 10}
    tables = read_tables(tmp_path)
    assert tables is not None
    assert tables.positive.dtype == np.float32
    assert tables.positive.tolist() == pytest.approx(np.array(TABLES["positive"]))
    assert set(tables.tensors()) == {"positive_calibration", "negative_calibration"}


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"score": {"positive": [[0, 0], [1, 1]]}}',
        '{"score": {"positive": [[0, 0], [1, 1]], "negative": [[0, 1], [1, 0]]}}',
        '{"score": {"positive": 3, "negative": 4}}',
        '{"score": {"positive": [[0, 0], [1, 2]], "negative": [[0, 0], [1, 1]]}}',
    ],
)
def test_what_is_no_table_names_its_file_and_the_fix(tmp_path: Path, text: str) -> None:
    (tmp_path / "tercet.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match="calibrate-score") as caught:
        read_tables(tmp_path)
    assert str(tmp_path / "tercet.json") in str(caught.value)
    assert not caught.value.invalid
