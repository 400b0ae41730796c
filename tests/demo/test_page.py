"""The page as a server, asked by its own client; and what is said where Gradio is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from PIL import Image

import goodness
from goodness.cli import main
from goodness.data import open_data
from goodness.demo.page import _plain

ASKED = """
import json, socket, sys
import goodness
from goodness.demo.page import launch, page

run = goodness.load("pretrained/digits", device="cpu")
made = page(run)
_, url, shared = launch(made, None, prevent_thread_lock=True)
from gradio_client import Client, handle_file
from PIL import Image

client = Client(url, verbose=False)

def ask(image, threshold, name="/predict"):
    try:
        given = None if image is None else handle_file(image)
        label, said, table, *pictures = client.predict(given, threshold, False, api_name=name)
    except Exception as error:
        return str(error)
    sizes = [Image.open(path).size for path in pictures]
    return {"label": label["label"], "said": said, "table": table["data"], "sizes": sizes}

digit, none = sys.argv[1:]
found = {
    "url": url,
    "shared": bool(shared),
    "analytics": made.analytics_enabled,
    "all": ask(digit, 1.0),
    "first": ask(digit, 0.0),
    "none": ask(none, 1.0),
    "empty": ask(None, 1.0),
    "blank": ask(None, 1.0, "/draw"),
}
try:
    launch(page(run), made.server_port)
except goodness.RunError as error:
    found["taken"] = str(error)
colour = page(goodness.load("pretrained/cifar10", device="cpu"))
for name, one in (("grey", made), ("colour", colour)):
    found[name] = sorted(str(function.api_name) for function in one.fns.values())
made.close(verbose=False)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    """A test image as a file."""
    path = tmp_path_factory.mktemp("page") / "digit.png"
    images, _ = next(open_data("digits").test.batches(1, "cpu"))
    Image.fromarray(images[0, 0].numpy()).save(path)
    return path


@pytest.fixture(scope="module")
def found(digit):
    """What a served page says; in a process of its own, as Gradio leaves sockets open."""
    if find_spec("gradio") is None:
        pytest.skip("gradio is not installed")
    none = digit.with_name("none.png")
    none.write_text("no image")
    words = [sys.executable, "-c", ASKED, str(digit), str(none)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_served_to_this_machine_alone(found):
    assert found["url"].startswith("http://127.0.0.1:")
    assert not found["shared"]
    assert not found["analytics"]
    assert "the page cannot be served at 127.0.0.1:" in found["taken"]


def test_it_answers_as_predict_does(found, digit):
    run = goodness.load("pretrained/digits", device="cpu")
    predicted = run.predict([digit])[0]

    shown = found["all"]
    assert shown["label"] == predicted.class_name
    assert shown["said"] == "Answered after block **conv4**."
    assert [row[0] for row in shown["table"]] == run.network.names
    assert [row[1] for row in shown["table"]] == [block.class_name for block in predicted.blocks]
    assert min(min(size) for size in shown["sizes"]) >= 200
    assert found["first"]["said"] == ("Answered after block **conv1**; 3 of 4 blocks need not run.")


def test_it_refuses_with_a_message(found):
    assert "no image that can be read" in found["none"]
    assert "drop an image first" in found["empty"]
    assert "nothing is drawn yet" in found["blank"]


def test_grey_and_small_images_can_be_drawn(found):
    assert found["grey"] == ["draw", "predict"]
    assert found["colour"] == ["predict"]


def test_names_are_no_markup():
    assert _plain("<b>a*b\nc</b>") == r"\<b\>a\*b c\</b\>"


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "pretrained/digits"])
    assert exit_.value.code == 2
    assert "pip install 'goodness[demo]'" in capsys.readouterr().err
