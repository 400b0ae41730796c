"""``goodness bench`` and ``goodness profile``."""

from __future__ import annotations

import json

import pytest

TINY = (
    "--model-arg",
    "widths=[4, 8]",
    "--image-size",
    "8",
    "--batch-size",
    "8",
    "--steps",
    "1",
    "--num-threads",
    "1",
)


def test_bench_writes_its_record_and_picture(goodness, tmp_path):
    code, out, _ = goodness(
        "bench", "sff", *TINY, "--model", "cnn", "--model-arg", "pools=[]",
        "--depths", "2,3", "--width", "4", "--side", "4", "--batches", "4", "--out", str(tmp_path),
    )  # fmt: skip

    assert code == 0
    assert out.splitlines()[-1] == str(tmp_path)
    assert "bound on the speed of layer-local steps" in out
    record = json.loads((tmp_path / "bench.json").read_text())
    assert record["command"].split()[0] == "goodness"
    assert [row["depth"] for row in record["depths"]] == [2, 3]
    assert record["batches"][0]["batch"] == 4
    assert record["environment"]["threads"] == 1
    assert (tmp_path / "bench.png").exists()


def test_bench_prints_the_memory_over_time_steps(goodness):
    words = ["bench", "ffgaf-snn", *TINY, "--model", "spiking-cnn", "--model-arg", "pools=[]"]
    code, out, _ = goodness(*words, "--num-classes", "4", "--time-steps", "1,2")

    assert code == 0
    heading, one, two = out.splitlines()[-3:]
    assert heading.split() == ["time", "steps", "ffgaf-snn", "backprop", *heading.split()[4:]]
    sizes = [[float(word) for word in row.split() if "." in word] for row in (one, two)]
    assert [row.split()[0] for row in (one, two)] == ["1", "2"]
    assert all(a < b for a, b in zip(*sizes, strict=True))


def test_profile_prints_every_block(goodness, tmp_path):
    words = ["profile", *TINY, "--model", "cnn", "--model-arg", "pools=[]"]
    code, out, _ = goodness(*words, "--json", "--out", str(tmp_path))
    _, shown, _ = goodness(*words)

    assert code == 0
    record = json.loads(out)
    assert record["method"] == "sff"
    assert [block["name"] for block in record["blocks"]] == ["conv1", "conv2"]
    assert "conv2" in shown
    assert "2 times as deep, 4 blocks" in shown
    assert (tmp_path / "profile.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "backprop"], "'backprop' is not local"),
        (["bench", "sfff"], "did you mean 'sff'"),
        (["bench", "sff", "--depths", "4,x"], "--depths needs numbers from 1 up"),
        (["bench", "sff", "--time-steps", "1"], "no time steps"),
        (["bench", "sff", "--batches", "0"], "--batches needs numbers from 1 up"),
        (["bench", "sff", "--model", "vgg88"], "did you mean 'vgg8'"),
        (["bench", "sff", "--set", "plann=together"], "did you mean 'plan'"),
        (["profile", "--method", "sfff"], "did you mean 'sff'"),
        (["profile", "--model", "vgg8", "--image-size", "4"], "too few"),
    ],
)
def test_bad_input_is_one_line(refused, words, message):
    assert message in refused(*words)
