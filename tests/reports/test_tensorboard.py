from __future__ import annotations

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from goodness.reports.tensorboard import TensorBoard


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, round(event.value, 6)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_every_number_of_an_epoch_is_an_event(trainer, finish_epoch, tmp_path):
    board = TensorBoard()
    board.on_start(trainer)
    finish_epoch(board)
    finish_epoch(board)
    board.on_close(trainer)
    scalars = read(tmp_path / "tensorboard")
    assert scalars["loss/train/conv2"] == [(1, 2.0), (2, 1.0)]
    assert scalars["accuracy/train/conv3"] == [(1, 0.7), (2, 0.85)]
    assert scalars["accuracy/val/conv3"] == [(1, 0.7), (2, 0.85)]
    assert scalars["readout/val/last"] == [(1, 0.5), (2, 0.5)]
    assert scalars["accuracy/val"] == [(1, 0.75), (2, 0.75)]
    assert scalars["learning_rate"] == [(1, 0.01), (2, 0.01)]
    assert scalars["images_per_second"] == [(2, 1234.5)]
    assert not any("conv1" in name for name in scalars)


def test_a_resumed_run_hides_the_epochs_it_repeats(trainer, finish_epoch, tmp_path):
    stopped = TensorBoard()
    stopped.on_start(trainer)
    finish_epoch(stopped)
    finish_epoch(stopped)
    stopped.on_close(trainer)
    trainer.history.pop()
    resumed = TensorBoard()
    resumed.on_start(trainer)
    finish_epoch(resumed)
    resumed.on_close(trainer)
    steps = [step for step, _ in read(tmp_path / "tensorboard")["accuracy/val"]]
    assert steps == [1, 2]


def test_without_a_run_folder_nothing_is_written(trainer, finish_epoch, tmp_path):
    trainer.run = None
    board = TensorBoard()
    board.on_start(trainer)
    finish_epoch(board)
    board.on_close(trainer)
    assert list(tmp_path.iterdir()) == []
