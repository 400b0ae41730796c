"""A trained network: it answers, explains itself, is measured, and leaves its folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor

from goodness.analysis.diagnosis import diagnose
from goodness.analysis.explain import Explanation, explain
from goodness.data import Split, Subset, open_split
from goodness.data.folder import expanded
from goodness.data.given import Given, kind_of
from goodness.data.preprocessing import ImageLike
from goodness.errors import InputError
from goodness.exits.records import Calibration, ExitReport
from goodness.files import check_file
from goodness.notes import note
from goodness.results import (
    BlockDiagnosis,
    BlockPrediction,
    EarlyPrediction,
    Evaluation,
    Exported,
    Prediction,
    Result,
    macro_averages,
)
from goodness.sharing import folder as sharing
from goodness.sharing.folder import SharedFolder
from goodness.sharing.locating import is_name, locate
from goodness.training.evaluation import evaluate, images_at_once
from goodness.training.machine import choose_device
from goodness.training.preparing import network_of, subset_of
from goodness.training.replacing import REPLACED
from goodness.training.run_folder import RunFolder

if TYPE_CHECKING:
    from goodness.export import Format

PREDICT_BATCH = 64


class Run:
    """A trained network with its folder: a run's, whose best weights are taken, or a shared one's.

    Args:
        run: see `load`.
        device: where to compute.
        epoch: see `load`.

    Attributes:
        folder: the run folder, or the shared network's.
        name: what it was loaded by, e.g. ``"pretrained/mnist"``; of a folder its name.
        config: the resolved configuration.
        network: the blocks, with these weights.
        epoch: that the weights are of, counted from 1; None: nobody knows, it was shared.
        preprocessing: images to tensors, as the network was trained on them.
        classes: class names in the order of the scores.
        max_pixels: image files of more (height times width) are refused; the run's, and may be set.
    """

    def __init__(self, run: str | Path, device: str = "auto", epoch: int | None = None) -> None:
        path = locate(run)
        kept = _open(path, epoch)
        self.folder = kept.path
        self.name = str(run) if is_name(run) else path.absolute().name
        self.config = kept.read_config()
        self.preprocessing = kept.read_preprocessing()
        self.classes = self.preprocessing.classes
        network = network_of(self.config, self.preprocessing, initial=False)
        self.network = network.to(choose_device(device))
        self.epoch = kept.load_weights(self.network)
        self.network.eval()
        self.max_pixels = self.config.max_pixels
        self._kept = kept

    @property
    def own_folder(self) -> Path | None:
        """The folder for what is made of the network.

        None of a shared network, which stays as it is, and of a run that is being replaced: its
        files go with it.
        """
        is_lasting = isinstance(self._kept, RunFolder) and self.folder.name != REPLACED
        return self.folder if is_lasting else None

    @cached_property
    def result(self) -> Result | None:
        """The content of ``result.json``; None before the run has ended.

        Raises:
            InputError: it is damaged.
        """
        return self._kept.read_result()

    def save_pretrained(
        self, folder: str | Path, *, name: str | None = None, overwrite: bool = False
    ) -> Path:
        """Write the network alone, for others: weights, configuration, preprocessing, model card.

        It holds no code and nothing pickled, and no path of this machine. `goodness.load` reads it.

        Args:
            folder: made if it is not there.
            name: what loads it, for the card; None: the folder.
            overwrite: replace a network that was written there before.

        Returns:
            The folder.

        Raises:
            InputError: the folder holds something else, or the extra ``hub`` is not installed.
        """
        path = Path(folder)
        sharing.check_target(path, overwrite)
        sharing.write(self, path, name or path.name)
        return path

    def push_to_hub(self, repo: str, *, private: bool = False) -> str:
        """Put the network on the Hugging Face Hub, as `save_pretrained` writes it.

        Args:
            repo: ``USER/NAME``; made if it is not there.
            private: whether a new one is for its owner alone.

        Returns:
            Its address.

        Raises:
            InputError: the Hub cannot be reached or refuses, or the extra ``hub`` is not installed.
        """
        from goodness.sharing.hub import upload

        with TemporaryDirectory() as scratch:
            folder = self.save_pretrained(Path(scratch) / "network", name=f"hf:{repo}")
            return upload(folder, repo, private)

    @cached_property
    def calibration(self) -> Calibration | None:
        """What `calibrate` found of these weights; None before.

        Raises:
            InputError: ``exits.json`` is damaged.
        """
        found = self._kept.read_exits()
        if found is None or found.readout != self.network.readout:
            return None
        # A run goes on after it was calibrated; what is shared stays as it is.
        if self.epoch is not None and found.epoch != self.epoch:
            return None
        found.check(self.network.names, len(self.classes), f"'{self._kept.exits_file}'")
        return found

    def calibrate(
        self,
        *,
        data_root: str | Path | None = None,
        tolerance: float = 0.005,
        margin: float | None = None,
        support: int = 30,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
    ) -> Calibration:
        """Temperatures and early exits, chosen on half of validation, measured on the other half.

        Writes ``exits.json``. See `goodness.exits` and arXiv 2509.08318.

        Args:
            data_root: as in `evaluate`.
            tolerance: the loss of accuracy that is allowed where exits are chosen, 0 to 1.
            margin: by how much an exit's precision on a class may be below the whole network's, -1
                to 1, or above it where it is negative; None: the one that saves most FLOPs within
                the tolerance.
            support: answers that a precision needs to count.
            batch_size: images at a time.
            skip_unreadable: as in `evaluate`.

        Raises:
            InputError: the last block alone has an answer, validation has too few images, or this
                is a shared network.
        """
        if self.epoch is None or not isinstance(self._kept, RunFolder):
            raise InputError(
                f"'{self.name}' is a shared network, without a folder for what calibration finds"
            )
        from goodness.exits.calibrate import calibrate

        for name, value, least in (("tolerance", tolerance, 0), ("margin", margin, -1)):
            if value is not None and not least <= value <= 1:
                raise InputError(f"{name}: a share from {least} to 1 is needed (got {value})")
        if support < 1:
            raise InputError(f"support: at least 1 is needed (got {support})")
        images = self._split(None, "val", data_root, skip_unreadable)
        self.calibration = calibrate(
            self.network,
            images,
            self.preprocessing,
            data=self.config.data,
            epoch=self.epoch,
            tolerance=tolerance,
            margin=margin,
            support=support,
            batch_size=batch_size or images_at_once(images.image_shape),
        )
        self._kept.write_exits(self.calibration)
        return self.calibration

    def evaluate(
        self,
        data: str | Path | Given | None = None,
        *,
        split: str = "test",
        data_root: str | Path | None = None,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
    ) -> Evaluation:
        """Accuracy on a split of the run's data, or of other images with the same classes.

        Args:
            data: a name, a folder or what a program has, see `goodness.open_data`, whose classes
                are matched by name; None takes the run's.
            split: ``"train"``, ``"val"`` or ``"test"``.
            data_root: where names are looked up.
            batch_size: images at a time; None: as many as need little memory.
            skip_unreadable: leave unreadable images out instead of refusing; None: as in the run.

        Raises:
            InputError: the data cannot be found or read, or has an unknown class.
        """
        images = self._split(data, split, data_root, skip_unreadable)
        network = self.network
        size = batch_size or images_at_once(images.image_shape)
        counts = evaluate(network, images, self.preprocessing, batch_size=size)
        confusion = counts.confusion[network.readout].tolist()
        macro = macro_averages(confusion)
        return Evaluation(
            **vars(counts.result(network.readout)),
            data=self._called(data),
            split=split,
            blocks=network.names,
            confusion=confusion,
            precision=macro.precision,
            recall=macro.recall,
            f1=macro.f1,
        )

    def evaluate_exits(
        self,
        data: str | Path | Given | None = None,
        *,
        split: str = "test",
        data_root: str | Path | None = None,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
    ) -> ExitReport:
        """Early exits on a split of the run's data, or of other images with the same classes.

        Args:
            data: as in `evaluate`.
            split: as in `evaluate`.
            data_root: as in `evaluate`.
            batch_size: as in `evaluate`.
            skip_unreadable: as in `evaluate`.

        Raises:
            InputError: as in `evaluate`; or the run is not calibrated.
        """
        from goodness.exits.calibrate import measure

        images = self._split(data, split, data_root, skip_unreadable)
        return measure(
            self.network,
            images,
            self.preprocessing,
            self._calibrated().exits,
            data=self._called(data),
            name=split,
            batch_size=batch_size or images_at_once(images.image_shape),
        )

    def _calibrated(self) -> Calibration:
        if self.calibration is None and not isinstance(self._kept, RunFolder):
            raise InputError(
                f"'{self.name}' was shared without calibrated exits; calibrate the run and push it"
                " again"
            )
        if self.calibration is None:
            raise InputError(
                f"'{self.folder}' has no exits for its best weights: run goodness calibrate"
                f" {self.folder} first"
            )
        return self.calibration

    def diagnose(
        self,
        data: str | Path | Given | None = None,
        *,
        split: str = "val",
        data_root: str | Path | None = None,
        examples: int = 512,
        skip_unreadable: bool | None = None,
    ) -> list[BlockDiagnosis]:
        """What every block has learnt and is taught; see `goodness.diagnose`.

        Args:
            data: as in `evaluate`.
            split: ``"train"``, ``"val"`` or ``"test"``.
            data_root: where names are looked up.
            examples: images to look at, the first ones of the split.
            skip_unreadable: as in `evaluate`.

        Raises:
            InputError: as in `evaluate`.
        """
        images = self._split(data, split, data_root, skip_unreadable)
        count = min(examples, len(images))
        pixels, y = next(images.batches(count, self.network.device))
        return diagnose(self.network, self.preprocessing.apply(pixels), y)

    def report(
        self,
        path: str | Path,
        data: str | Path | Given | None = None,
        *,
        split: str = "test",
        data_root: str | Path | None = None,
        batch_size: int | None = None,
        skip_unreadable: bool | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write one page of HTML about the network, which needs no other file and no network.

        What there is nothing to tell of, such as the answers where the run's own data is not
        found, is left out, and the page says so.

        Args:
            path: the file to write.
            data: as in `evaluate`.
            split: as in `evaluate`.
            data_root: as in `evaluate`.
            batch_size: as in `evaluate`.
            skip_unreadable: as in `evaluate`.
            overwrite: replace a file that is there already.

        Returns:
            The file.

        Raises:
            InputError: the file cannot be written or is there already, or other images than the
                run's cannot be read.
        """
        from goodness.reports.page import write_page

        check_file(Path(path), overwrite)
        images: Split | str
        try:
            images = self._split(data, split, data_root, skip_unreadable)
        except InputError as error:
            if data is not None or split not in ("train", "val", "test"):
                raise
            images = str(error)
            note(f"the page tells nothing about images: {images}")
        return write_page(
            self,
            Path(path),
            images,
            data=self._called(data),
            split=split,
            batch_size=batch_size,
        )

    def _called(self, data: str | Path | Given | None) -> str:
        """What a result calls the run's data, or other images."""
        name = self.config.data if data is None else data
        return str(name) if isinstance(name, str | Path) else kind_of(name)

    def _split(
        self,
        data: str | Path | Given | None,
        split: str,
        data_root: str | Path | None,
        skip_unreadable: bool | None,
    ) -> Split:
        """A part of the run's data, or of other images."""
        config, own = self.config, data is None
        return open_split(
            config.data if data is None else data,
            split,
            self.preprocessing,
            data_root=data_root or config.data_root,
            val_fraction=config.val_fraction,
            skip_unreadable=config.skip_unreadable if skip_unreadable is None else skip_unreadable,
            whole=not own,
            subset=subset_of(config) if own else Subset(),
            max_pixels=self.max_pixels,
        )

    def predict(
        self, images: ImageLike | Iterable[ImageLike], *, skip_unreadable: bool = False
    ) -> list[Prediction]:
        """Classify images of any size.

        Args:
            images: files, folders and patterns such as ``"photos/*.jpg"``; Pillow images, arrays
                and tensors, one by one or in one batch, as `Preprocessing` takes them.
            skip_unreadable: leave files that cannot be read out instead of refusing.

        Returns:
            One prediction per image, in order.

        Raises:
            InputError: a file is missing, corrupt or no image, or a tensor has another shape.
        """
        return list(self.predict_iter(images, skip_unreadable=skip_unreadable))

    def predict_iter(
        self, images: ImageLike | Iterable[ImageLike], *, skip_unreadable: bool = False
    ) -> Iterator[Prediction]:
        """What `predict` gives, one after another, for more images than memory should hold."""
        names = self.network.names
        temperature = 1.0 if self.calibration is None else self.calibration.exits[-1].temperature
        for titles, batch in self._batches(images, skip_unreadable):
            found = self.network.evaluate(batch)
            own = [self._answers(scores, len(titles)) for scores in found.blocks]
            final = found.final(self.network.readout) / temperature
            for title, (class_name, index, probability), *others in zip(
                titles, self._answers(final, len(titles)), *own, strict=True
            ):
                named = zip(names, others, strict=True)
                blocks = [BlockPrediction(name, block[0], block[2]) for name, block in named]
                yield Prediction(title, class_name, index, probability, blocks)

    def predict_early(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        threshold: float | None = None,
        skip_unreadable: bool = False,
    ) -> list[EarlyPrediction]:
        """Classify images, each behind the first block that is sure enough.

        Args:
            images: as in `predict`.
            threshold: one confidence for all exits and classes, in place of the calibrated ones.
            skip_unreadable: as in `predict`.

        Raises:
            InputError: as in `predict`; or the run is not calibrated.
        """
        early = self.predict_early_iter(
            images, threshold=threshold, skip_unreadable=skip_unreadable
        )
        return list(early)

    def predict_early_iter(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        threshold: float | None = None,
        skip_unreadable: bool = False,
    ) -> Iterator[EarlyPrediction]:
        """What `predict_early` gives, one after another."""
        from goodness.exits.calibrate import exits_of
        from goodness.exits.passage import answer_early

        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(f"threshold: a confidence from 0 to 1 is needed (got {threshold})")
        names = self.network.names
        exits = exits_of(self._calibrated().exits, self.network.device, threshold)
        for titles, batch in self._batches(images, skip_unreadable):
            found = answer_early(self.network, batch, exits)
            answers = self._answers(found.scores, len(titles))
            for title, answer, left in zip(titles, answers, found.left.tolist(), strict=True):
                yield EarlyPrediction(title, *answer, exit=names[left], depth=left + 1)

    def _batches(
        self, images: ImageLike | Iterable[ImageLike], skip_unreadable: bool
    ) -> Iterator[tuple[list[str], Tensor]]:
        """Names of images that can be read, and their pixels (n, C, H, W), some at a time."""
        preprocessing = self.preprocessing
        shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
        size = images_at_once(shape, PREDICT_BATCH)
        named = expanded(preprocessing.listed(images))
        while batch := list(islice(named, size)):
            loaded = [(name, self._pixels(image, skip_unreadable)) for name, image in batch]
            part = [(name, pixels) for name, pixels in loaded if pixels is not None]
            if part:
                yield [name for name, _ in part], preprocessing([pixels for _, pixels in part])

    def explain(self, image: ImageLike) -> Explanation:
        """What each block has seen in an image; see `goodness.explain`.

        Args:
            image: a file, a Pillow image, or uint8 (C, H, W) of the network's size.
        """
        pixels = self.preprocessing.load(image, self.max_pixels)
        return explain(self.network, self.preprocessing(pixels)[0])

    def export(
        self,
        format: Format = "safetensors",
        out: str | Path | None = None,
        *,
        readout: str | None = None,
        exits: bool = False,
        with_preprocessing: bool = False,
        int8: bool = False,
        train: bool = False,
        batch: int | None = None,
        overwrite: bool = False,
        data_root: str | Path | None = None,
    ) -> Exported:
        """Write the network for other programs, in full precision, whatever it was trained in.

        A program's input is ``images`` (N, C, H, W), N any number; its output ``scores`` (N, K).
        Methods that ask about every class have their K questions per image in the graph. Class
        names, mean, deviation and the readout are in the file, as JSON.

        Args:
            format: ``"safetensors"``: the weights of the model that was cut, by its own names;
                ``"torch"``: a program for `torch.export.load`, whose scores are the network's bit
                for bit; ``"onnx"``: an ONNX model; ``"executorch"``: a program with planned
                memory for phones and boards, for a fixed batch; ``"nir"``: a graph of spiking
                neurons, of model ``spiking-cnn`` alone; see `goodness.export.nir.to_nir`.
            out: the file; None writes ``model.*`` into the run folder. With ``train`` a folder;
                None: ``device`` in the run folder. Shared networks need one.
            readout: which readout answers; None takes the network's.
            exits: a second output ``exits`` (N, B, K), the scores after every block.
            with_preprocessing: take uint8 pixels instead of preprocessed float32 images.
            int8: make an ONNX model's convolutions and matrix products 8-bit, calibrated on
                training images, and measure the test accuracy before and after.
            train: write an ExecuTorch program per block that gives its loss and gradients, and
                ``plan.json``; see `goodness.export.device.DeviceLearner`.
            batch: images that an ExecuTorch program takes, 1 by default.
            overwrite: replace what an export has written there before.
            data_root: where the run's data is looked up, for ``int8``.

        Raises:
            InputError: an option that the format does not take, a missing package, no such
                readout, a file that cannot be written or is there already, or a method whose step
                needs an operator that ExecuTorch lacks.
        """
        from goodness.export import export

        return export(
            self,
            format,
            out,
            readout=readout,
            exits=exits,
            with_preprocessing=with_preprocessing,
            int8=int8,
            train=train,
            batch=batch,
            overwrite=overwrite,
            split=lambda part: self._split(None, part, data_root, None),
        )

    def _pixels(self, image: ImageLike, skip_unreadable: bool) -> Tensor | None:
        """An image; None where it cannot be read."""
        try:
            return self.preprocessing.load(image, self.max_pixels)
        except InputError:
            if skip_unreadable:
                return None
            raise

    def _answers(self, scores: Tensor | None, count: int) -> list[tuple[Any, Any, Any]]:
        """Per image its class, the class's number and its probability, for scores (N, K)."""
        if scores is None:
            return [(None, None, None)] * count
        probabilities, indices = scores.float().softmax(1).max(1)
        each = zip(indices.tolist(), probabilities.tolist(), strict=True)
        return [(self.classes[index], index, probability) for index, probability in each]


def _open(path: Path, epoch: int | None) -> RunFolder | SharedFolder:
    """The folder of a network; an epoch is for runs, which may keep several."""
    if not SharedFolder.holds(path):
        return RunFolder.open(path, epoch).answering()
    if epoch is not None:
        raise InputError(f"'{path}' is a shared network, which has one state: no epoch {epoch}")
    return SharedFolder(path)
