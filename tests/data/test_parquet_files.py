from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from goodness.data import open_data
from goodness.errors import InputError

LABELS = [0, 1] * 10


def test_found_below_the_root_whatever_the_name(tmp_path, write_parquet, values):
    write_parquet(tmp_path / "flowers/train-0-of-2.parquet", LABELS, ["rose", "tulip"])
    write_parquet(tmp_path / "flowers/train-1-of-2.parquet", LABELS, ["rose", "tulip"])
    write_parquet(tmp_path / "flowers/test-0-of-1.parquet", [1, 0, 1], ["rose", "tulip"])
    data = open_data("flowers", data_root=tmp_path)
    assert data.name == "flowers"
    assert data.classes == ("rose", "tulip")
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 3)
    assert data.test.labels.tolist() == [1, 0, 1]
    assert values(data.test) == [0, 1, 2]
    assert sorted(values(data.train) + values(data.val)) == sorted(2 * list(range(20)))
    assert [value % 2 for value in values(data.train)] == data.train.labels.tolist()


def test_root_from_the_environment(tmp_path, write_parquet, monkeypatch):
    write_parquet(tmp_path / "flowers/train-0.parquet", LABELS)
    monkeypatch.setenv("GOODNESS_DATA", str(tmp_path))
    assert len(open_data("flowers").train) == 14
    with pytest.raises(InputError, match="unknown data set"):
        open_data("flowers", data_root=tmp_path / "elsewhere")  # an argument goes first


def test_goes_before_a_known_name(tmp_path, write_parquet):
    write_parquet(tmp_path / "mnist/train-0.parquet", LABELS)
    assert open_data("mnist", data_root=tmp_path).train.image_shape == (1, 6, 6)


@pytest.mark.parametrize("name", ["validation-0", "val-0", "val"])
def test_validation_files_and_a_plain_folder(name, tmp_path, write_parquet):
    write_parquet(tmp_path / "train-0.parquet", LABELS)
    write_parquet(tmp_path / f"{name}.parquet", [0, 1, 1])
    data = open_data(tmp_path)
    assert data.classes == ("0", "1")  # no names in the file
    assert (len(data.train), len(data.val), len(data.test)) == (16, 3, 4)


def test_validation_files_under_two_names_are_refused(tmp_path, write_parquet):
    for name in ("train-0", "val-0", "validation-0"):
        write_parquet(tmp_path / f"{name}.parquet", LABELS)
    with pytest.raises(InputError, match="holds both 'validation' and 'val'"):
        open_data(tmp_path)


def test_columns_of_cifar100(tmp_path, write_parquet):
    columns = ("img", "fine_label")
    write_parquet(tmp_path / "train-0.parquet", LABELS, ["apple", "bear"], columns)
    assert open_data(tmp_path).classes == ("apple", "bear")


@pytest.mark.parametrize(
    ("columns", "missing"), [(("photo", "label"), "image"), (("image", "kind"), "label")]
)
def test_missing_column(tmp_path, write_parquet, columns, missing):
    write_parquet(tmp_path / "train-0.parquet", LABELS, columns=columns)
    with pytest.raises(InputError, match=rf"no column '{missing}' .*{columns[0]}, {columns[1]}"):
        open_data(tmp_path)


@pytest.mark.parametrize(
    "metadata",
    [
        "{bad",
        b"\xff",
        "[]",
        '{"info": null}',
        '{"info": {"features": {"label": 3}}}',
        '{"info": {"features": {"label": {"names": "ab"}}}}',
    ],
)
def test_odd_metadata_names_no_classes(tmp_path, write_parquet, metadata):
    file = write_parquet(tmp_path / "train-0.parquet", LABELS)
    table = pq.read_table(file).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, file)
    assert open_data(tmp_path).classes == ("0", "1")


@pytest.mark.parametrize(
    ("labels", "names", "says"),
    [
        (pa.array([0, 2**63], pa.uint64()), None, "cannot read .*not in range"),
        ([0, 10**12], None, r"label 1000000000000 of .* row 1 is far above"),
        (["a", "b"], None, "should hold an integer in every row"),
        ([0, None], None, "should hold an integer in every row"),
        (pa.array([], pa.int64()), ["a", "b"], "holds no images"),
    ],
)
def test_a_label_that_counts_no_classes(tmp_path, write_parquet, labels, names, says):
    write_parquet(tmp_path / "train-0.parquet", labels, names)
    with pytest.raises(InputError, match=says):
        open_data(tmp_path)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_label_out_of_range(tmp_path, write_parquet, wrong):
    write_parquet(tmp_path / "train-0.parquet", LABELS, ["a", "b"])
    write_parquet(tmp_path / "train-1.parquet", [0, 1, wrong], ["a", "b"])
    text = rf"label {wrong} of .*train-1\.parquet row 2 is out of range.* 0 to 1"
    with pytest.raises(InputError, match=text):
        open_data(tmp_path)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([b"bytes"], "should be a struct with a field 'bytes'"),
        ([{"bytes": [1, 2]}], r"cannot read .*train-0\.parquet: .*list"),
    ],
)
def test_images_must_be_a_struct_of_bytes(tmp_path, images, says):
    pq.write_table(pa.table({"image": images, "label": [0]}), tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match=says):
        open_data(tmp_path)


def test_names_of_columns_that_are_not_utf8_are_refused(tmp_path):
    columns = {"image": [{"bytes": b"x"}], "label": [0], "oddname": [1]}
    file = tmp_path / "train-0.parquet"
    pq.write_table(pa.table(columns), file, store_schema=False)
    file.write_bytes(file.read_bytes().replace(b"oddname", b"\xff\xd0\xffname"[:7]))
    with pytest.raises(InputError, match=r"cannot read .*train-0\.parquet: 'utf-8' codec"):
        open_data(tmp_path)


@pytest.mark.filterwarnings("ignore::goodness.notes.Note")  # without it the part lacks a class
@pytest.mark.parametrize("bad", [b"no image", None])
def test_unreadable_image_is_named_by_row(tmp_path, write_parquet, bad):
    write_parquet(tmp_path / "train-0.parquet", LABELS)
    write_parquet(tmp_path / "test-0.parquet", [0, 1], images=[png_bytes(tmp_path), bad])
    with pytest.raises(InputError, match=r"cannot read the image .*test-0\.parquet row 1"):
        open_data(tmp_path)
    assert open_data(tmp_path, skip_unreadable=True).skipped == [f"{tmp_path}/test-0.parquet row 1"]


def png_bytes(tmp_path):
    return pq.read_table(tmp_path / "train-0.parquet")["image"][0].as_py()["bytes"]


def test_files_that_are_none_of_its_own(tmp_path, write_parquet):
    write_parquet(tmp_path / "data.parquet", LABELS)
    with pytest.raises(InputError, match=r"no train-\*\.parquet"):
        open_data(tmp_path)
    (tmp_path / "train-0.parquet").write_bytes(b"not Parquet at all")
    with pytest.raises(InputError, match=r"cannot read .*train-0\.parquet"):
        open_data(tmp_path)
