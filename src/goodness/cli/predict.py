"""``goodness predict``: the class of single image files."""

from __future__ import annotations

from goodness.cli.options import AsJson, Images, RunName, Values, takes
from goodness.cli.output import SCHEMA, console, page, percent, print_json, table
from goodness.cli.values import load_run


@takes("skip_unreadable", "num_threads", "device", settings=False)
def predict(run: RunName, images: Images, values: Values, as_json: AsJson = False) -> None:
    """Predict the class of each image, by the network and by each block."""
    loaded, asked = load_run(run, values())
    predictions = loaded.predict(images, **asked)
    if left_out := len(images) - len(predictions):
        console().print(f"note: {left_out} files cannot be read and are left out")
    if as_json:
        print_json([{"schema": SCHEMA, **prediction.to_json()} for prediction in predictions])
        return
    from goodness.results import shown_blocks

    shown = shown_blocks([block.objective is not None for block in loaded.network])
    rows = (
        # A dash for a block that has no scores.
        (
            p.file,
            p.class_name,
            percent(p.probability),
            *(p.blocks[i].class_name or "–" for i in shown),
        )
        for p in predictions
    )
    columns = ("file", "class", "probability", *(loaded.network.names[i] for i in shown))
    page().print(table(columns, rows, ("probability",)))
