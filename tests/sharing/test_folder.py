"""A network written for others answers as before, and a folder of strangers runs no code."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import goodness
from goodness.data import open_data
from goodness.errors import InputError
from helpers import TINY, same


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on a folder's worth of local names, which no test changes."""
    folder = tmp_path_factory.mktemp("shared") / "run"
    return goodness.fit(
        "digits", out=folder, model=TINY, batch_size=256, epochs=1, num_threads=1, device="cpu"
    )


@pytest.fixture
def shared(run, tmp_path):
    return run.save_pretrained(tmp_path / "shared")


def images():
    return next(open_data("digits").test.batches(20, "cpu"))[0]


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def refuses(folder, match):
    with pytest.raises(InputError, match=match) as caught:
        goodness.load(folder).result  # noqa: B018
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [None, "backprop", "ff"])
def test_a_shared_network_answers_bit_for_bit(run, tmp_path, method):
    if method is not None:
        values = {"model": TINY, "batch_size": 1000, "epochs": 1}
        run = goodness.fit(out=tmp_path / "run", method=method, device="cpu", **values)
    again = goodness.load(run.save_pretrained(tmp_path / "shared"), device="cpu")

    assert same(again.network.state_dict(), run.network.state_dict())
    x = run.preprocessing(images())
    assert torch.equal(again.preprocessing(images()), x)
    assert torch.equal(again.network.scores(x), run.network.scores(x))
    assert torch.equal(again.network.exits(x), run.network.exits(x))
    assert again.network.readout == run.network.readout
    assert again.classes == run.classes
    assert again.result == run.result
    assert again.evaluate(split="val").accuracy == run.result.val.accuracy
    twice = goodness.load(again.save_pretrained(tmp_path / "twice"), device="cpu")
    assert torch.equal(twice.network.scores(x), run.network.scores(x))


def test_nothing_of_the_machine_is_in_it(tmp_path):
    data = tmp_path / "private" / "pets"
    for part, kind in ((p, k) for p in ("train", "test") for k in ("cat", "dog")):
        (data / part / kind).mkdir(parents=True)
        for number in range(8):
            pixels = torch.randint(0, 255, (8, 8), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(data / part / kind / f"{number}.png")
    run = goodness.fit(
        *(data,),
        **{"out": tmp_path / "run", "model": TINY, "batch_size": 4, "epochs": 1},
        **{"data_root": tmp_path, "num_threads": 1},
    )

    shared = run.save_pretrained(tmp_path / "shared")

    names = {path.name for path in shared.iterdir()}
    assert names == {
        *("config.json", "preprocessor_config.json", "model.safetensors"),
        *("result.json", "README.md", "curves.png"),
    }
    for name in names:
        assert str(tmp_path).encode() not in (shared / name).read_bytes(), name
    config = goodness.load(shared).config
    assert (config.data, config.data_root, config.num_threads) == ("pets", None, None)


def test_the_card_says_what_was_measured_how_it_learnt_and_how_it_is_loaded(run, shared):
    from huggingface_hub import ModelCard

    text = (shared / "README.md").read_text()
    card = ModelCard(text)

    assert card.data.library_name == "goodness"
    assert card.data.datasets == ["digits"]
    assert card.data.eval_results[0].metric_value == pytest.approx(run.result.test.accuracy)
    assert f"| test | {run.result.test.accuracy:.2%} | {run.result.test.examples} |" in text
    for name, accuracy in zip(run.result.blocks, run.result.test.per_block, strict=True):
        assert f"| {name} |" in text
        assert f"{accuracy:.2%}" in text
    assert "Locality: `layer`. Each layer learns from its own loss" in text
    assert 'goodness.load("shared")' in text


def test_a_folder_of_something_else_is_never_written_to(run, shared, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="is not empty and holds no shared network"):
            run.save_pretrained(mine, overwrite=overwrite)
        with pytest.raises(InputError, match="is not empty"):
            run.save_pretrained(run.folder, overwrite=overwrite)
    assert [path.name for path in mine.iterdir()] == ["config.json"]
    with pytest.raises(InputError, match="--overwrite replaces it"):
        run.save_pretrained(shared)
    assert run.save_pretrained(shared, overwrite=True) == shared


class Harm:
    """Unpickling it writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_pickles_and_code_of_strangers_are_never_run(shared, tmp_path):
    mark = tmp_path / "harmed"
    code = f"open({str(mark)!r}, 'w')"
    (tmp_path / "evil.py").write_text(code)
    config = shared / "config.json"
    kept = config.read_text()

    change(config, imports=[str(tmp_path / "evil.py")])
    refuses(shared, "names Python files to import")
    config.write_text(kept)
    (tmp_path / "weights.bin").write_bytes(pickle.dumps(Harm(mark)))
    for argument in ("checkpoint_path", "weights", "pretrained_cfg"):
        args = {argument: str(tmp_path / "weights.bin")}
        change(config, model={"name": "timm/resnet18", "args": args})
        refuses(shared, f"model.args.{argument} is no argument of timm/resnet18's constructor")
    config.write_text(kept)
    (shared / "model.safetensors").write_bytes(pickle.dumps(Harm(mark)))
    refuses(shared, r"model\.safetensors' is missing or no safetensors file")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", "{", "not valid JSON"),
        ("config.json", "[]", "no configuration"),
        ("config.json", '{"schema": 99}', "upgrade goodness"),
        ("preprocessor_config.json", "{", "not valid JSON"),
        ("preprocessor_config.json", "[]", "is damaged"),
        ("preprocessor_config.json", '{"channels": 1}', "height: Field required"),
        ("model.safetensors", None, "is missing"),
        ("model.safetensors", "no weights", "no safetensors file"),
        ("result.json", "{", "not valid JSON"),
        ("result.json", "{}", "values are missing"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(shared, file, content, says):
    if content is None:
        (shared / file).unlink()
    else:
        (shared / file).write_text(content)
    refuses(shared, says)


@pytest.mark.parametrize(
    ("file", "values", "says"),
    [
        ("config.json", {"objective": 3}, "a mapping is needed"),
        ("config.json", {"model": {"name": ["x"]}}, "a name is needed"),
        ("config.json", {"model": {"name": "no-such-model"}}, "unknown model"),
        ("config.json", {"model": {"name": "small-cnn", "widths": [8, 20], "pools": [1]}}, "is of"),
        ("config.json", {"from_the_future": 1}, "unknown key"),
        ("preprocessor_config.json", {"std": [0.0]}, "a deviation above 0 per channel"),
        ("preprocessor_config.json", {"mean": [0.1, 0.2]}, "per channel are needed"),
        ("preprocessor_config.json", {"height": 0}, "image_shape"),
        ("preprocessor_config.json", {"classes": []}, "classes"),
    ],
)
def test_values_that_cannot_be_are_one_clear_line(shared, file, values, says):
    change(shared / file, **values)
    refuses(shared, says)


def test_weights_of_another_network_are_named(shared):
    state = load_file(shared / "model.safetensors")
    name = next(iter(state))
    save_file({key: value for key, value in state.items() if key != name}, shared / "x")
    (shared / "x").replace(shared / "model.safetensors")
    refuses(shared, f"'{name}' is missing there")


def test_a_shared_network_is_where_a_run_starts_but_not_what_goes_on(shared, run, tmp_path):
    with pytest.raises(InputError, match="--init-from starts"):
        goodness.resume(shared)
    values = {"model": TINY, "batch_size": 256, "epochs": 1, "lr": 1e-9}
    from_shared = goodness.fit(out=tmp_path / "a", init_from=shared, **values)
    from_run = goodness.fit(out=tmp_path / "b", init_from=run.folder, **values)
    assert same(from_shared.network.state_dict(), from_run.network.state_dict())
