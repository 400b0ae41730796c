"""``goodness predict``: the class of single image files."""

from __future__ import annotations

from goodness.cli.options import AsJson, Images, RunFolder, Values, takes
from goodness.cli.output import SCHEMA, console, page, percent, print_json, table
from goodness.cli.values import load_run


@takes("skip_unreadable", "num_threads", "device", settings=False)
def predict(run: RunFolder, images: Images, values: Values, as_json: AsJson = False) -> None:
    """Tell the class of each image, and what each block would have said."""
    loaded, asked = load_run(run, values())
    predictions = loaded.predict(images, **asked)
    if left_out := len(images) - len(predictions):
        console().print(f"note: {left_out} files cannot be read and are left out")
    if as_json:
        print_json([{"schema": SCHEMA, **prediction.to_json()} for prediction in predictions])
        return
    names = loaded.network.names
    shown = table("file", "class", "probability", *names, numbers=("probability",))
    for prediction in predictions:
        shown.add_row(
            prediction.file,
            prediction.class_name,
            percent(prediction.probability),
            # A dash for a block that has no scores.
            *(block.class_name or "–" for block in prediction.blocks),
        )
    page().print(shown)
