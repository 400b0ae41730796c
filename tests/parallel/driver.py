"""Runs the scenarios of test_ranks.py: ranks are forked, so that torch is imported once.

    python driver.py FOLDER

Leaves a run folder per scenario, and in ``ended.json`` how every rank ended: its exit code, or what
was raised there.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import torch
import torch._dynamo  # as torch's optimizers do; once here, not in every rank
import torch.distributed as dist
from timm.utils import ModelEmaV3  # noqa: F401

import goodness
from goodness import api
from goodness.errors import EndedElsewhere
from goodness.parallel import group
from goodness.training.callbacks import Callback

MODEL = {"name": "small-cnn", "widths": [8, 8, 8, 8], "pools": [1, 3], "whiten": 2}
COMMON = {
    **{"method": "asge-fast", "model": MODEL, "epochs": 2, "batch_size": 240},
    "augment": {"flip": "alternate"},
    "log": [],  # no pictures, for speed
}
LAYERS = {
    **COMMON,
    "optimizer": "muon",
    "boundary": {"dropout": 0.2},
    "readouts": {"fusion": {"start": 0.3}},  # begins to learn inside an epoch
    "ema": 0.9,
    "clip_grad_norm": 1.0,
    "accumulate_steps": 2,
    "augment": {"flip": "alternate", "mixup": 0.4, "cutmix": 1.0, "attentive_cutmix": 8},
}
# Neither batch norm nor noise, so that shares of a batch make up the batch.
DATA = {
    **COMMON,
    "model": {**MODEL, "norm": "none"},
    "boundary": {"dropout": 0.0},
    "readouts": {"fusion": {}},
    "augment": {"flip": "alternate", "mixup": 0.4, "cutmix": 1.0, "mix_share": 0.8},
}


HANGS = 120
"""Seconds after which a rank is taken to hang; most scenarios take one or two."""


class At(Callback):
    """Does something after one step (counted from 1)."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step(self, trainer):
        if trainer.step == self.step:
            self.action(trainer)


def stop(trainer):
    trainer.interrupted = signal.SIGTERM


def die(trainer):
    os.kill(os.getpid(), signal.SIGKILL)


def poison(trainer):
    """Break what this rank trains."""
    with torch.no_grad():
        trainer.network[trainer.learner.blocks[-1]].body[0].weight.fill_(float("nan"))


def on_every_rank(callbacks, rank):
    """`fit` and `resume` give callbacks to rank 0 alone; here each has its own."""
    prepare = api.prepare

    def prepared(*args, **options):
        made = prepare(*args, **options)
        made.callbacks = [callbacks[rank]] if rank in callbacks else []
        return made

    api.prepare = prepared


def ranks(count, work, callbacks=None):
    """How each of ``count`` forked ranks ends that does ``work``; 0: one, without torchrun."""
    # As torchrun does it, the store outlives the ranks.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children = []
    for rank in range(max(count, 1)):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            # A rank that hangs shows where, and ends the others.
            faulthandler.dump_traceback_later(HANGS, exit=True)
            if count:
                place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
                address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
                os.environ |= {key: str(value) for key, value in {**place, **address}.items()}
                os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
            on_every_rank(callbacks or {}, rank)
            said = "done"
            try:
                work()
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            os.write(write, said.encode())
            os._exit(0)
        os.close(write)
        children.append((pid, read))
    ended = []
    for pid, read in children:
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        ended.append(said if code == 0 else code)
    return ended


def main(folder: Path) -> None:
    """All scenarios, one after the other."""
    torch.set_num_threads(1)
    api._with_reports = list  # no pictures, for speed
    group.ROLL_CALL = 2.0
    goodness.open_data("digits")  # imports what it needs
    ended = {}

    def fit(name, values, count=0, callbacks=None, **more):
        def work():
            goodness.fit(out=folder / name, **values, **more)

        ended[name] = ranks(count, work, callbacks)

    def resume(name, count=0, callbacks=None, **more):
        def work():
            goodness.resume(folder / name, **more)

        ended[name] = ranks(count, work, callbacks)

    fit("whole", LAYERS)
    # Stopped inside the first epoch, at its end, and inside the second one; 5 steps each.
    fit("chain", LAYERS, 2, {0: At(2, stop)}, parallel="layers")
    ended["stopped"] = ended["chain"]
    resume("chain", callbacks={0: At(5, stop)}, parallel="none")
    resume("chain", 3, {0: At(7, stop)}, parallel="layers")
    after_every_step = {"every_seconds": 0}
    resume("chain", 2, parallel="layers", checkpoint=after_every_step)

    fit("one", DATA)
    fit("shares", DATA, 2, {0: At(2, stop)}, parallel="data")
    resume("shares", 3, {0: At(6, stop)}, parallel="data")
    resume("shares", callbacks={0: At(8, stop)}, parallel="none")
    resume("shares", 2, parallel="data")

    fit("nan", LAYERS, 3, {1: At(7, poison)}, parallel="layers")
    fit("killed", LAYERS, 3, {1: At(7, die)}, parallel="layers")
    fit("leaderless", LAYERS, 2, {0: At(7, die)}, parallel="layers")
    fit("share-killed", DATA, 3, {1: At(7, die)}, parallel="data")
    fit("bad-data", {**DATA, "data": "digist"}, 2, parallel="data")

    def twice():
        with suppress(goodness.InputError, EndedElsewhere):
            goodness.fit(out=folder / "bad", **{**DATA, "data": "digist", "parallel": "data"})
        goodness.fit(out=folder / "again", **DATA, parallel="layers")

    ended["again"] = ranks(2, twice)
    fit("unsaid", DATA, 2)
    fit("alone", DATA, parallel="layers")
    (folder / "ended.json").write_text(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
