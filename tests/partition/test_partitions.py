"""Where networks are cut, and that the pieces are the network."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from goodness import InputError
from goodness.models import MODELS
from goodness.partition import Chain, split, split_by_hand

SMALL = [
    ("small-cnn", (1, 32, 32), {"widths": [2, 3, 4, 5]}, ["conv1", "conv2", "conv3", "conv4"]),
    ("vgg8", (3, 32, 32), {}, ["conv1", "conv3", "conv5", "conv6", "conv7"]),
    ("vgg11", (3, 32, 32), {}, ["conv1", "conv3", "conv5", "conv7", "conv9"]),
]
SLOW = pytest.mark.slow
# The least number of blocks of each kind.
BACKBONES = [
    ("torchvision/resnet18", 9, 9, 5),
    pytest.param("torchvision/resnet50", 17, 17, 5, marks=SLOW),
    ("torchvision/mobilenet_v3_small", 20, 13, 5),
    pytest.param("torchvision/mobilenet_v3_large", 25, 16, 5, marks=SLOW),
    pytest.param("torchvision/vgg11_bn", 10, 6, 6, marks=SLOW),
    ("torchvision/densenet121", 8, 8, 5),
    pytest.param("torchvision/efficientnet_b0", 30, 17, 5, marks=SLOW),
    pytest.param("torchvision/convnext_tiny", 22, 22, 4, marks=SLOW),
    pytest.param("torchvision/regnet_y_400mf", 17, 17, 5, marks=SLOW),
    pytest.param("torchvision/vit_b_16", 25, 13, 1, marks=SLOW),
    pytest.param("torchvision/swin_t", 16, 16, 4, marks=SLOW),
    ("timm/convnext_atto", 16, 16, 4),
    ("timm/vit_tiny_patch16_224", 25, 13, 1),
    pytest.param("timm/mobilenetv3_small_100", 20, 13, 5, marks=SLOW),
    pytest.param("timm/resnet18", 9, 9, 5, marks=SLOW),
    pytest.param("timm/densenet121", 8, 8, 5, marks=SLOW),
    pytest.param("timm/regnety_002", 14, 14, 5, marks=SLOW),
]


def cut(network, image, partition="layer", num_classes=10, **options):
    return split(network, torch.zeros(2, *image), num_classes, {"name": partition, **options})


def make(model, image, **options):
    return MODELS.make(MODELS.resolve({"name": model, **options}), image, 10)


def backbone(name):
    family, model = name.split("/")
    torch.manual_seed(0)
    if family == "timm":
        sized = {"img_size": 64} if "vit" in name else {}
        return timm.create_model(model, num_classes=10, **sized)
    sized = {"image_size": 64} if "vit" in name else {}
    return torchvision.models.get_model(model, num_classes=10, **sized)


def run(pieces, head, x):
    parts = [part for piece in pieces for part in (piece.body, piece.tail)]
    with torch.no_grad():
        return nn.Sequential(*parts, *([] if head is None else [head])).eval()(x)


def names_of(pieces, head):
    """The names of all tensors of the parts, in order."""
    modules = [m for piece in pieces for m in (piece.body, piece.tail)]
    return [key for m in [*modules, *([] if head is None else [head])] for key in m.state_dict()]


@pytest.mark.parametrize(("model", "image", "options", "starts"), SMALL)
def test_a_block_per_layer_with_weights_or_per_resolution(model, image, options, starts):
    layers = make(model, image, **options)
    convolutions = [n for n, layer in layers.named_children() if isinstance(layer, nn.Conv2d)]

    pieces, head = cut(layers, image)

    assert head is None
    assert [piece.name for piece in pieces] == convolutions
    for piece in pieces:
        assert sum(isinstance(layer, nn.Conv2d) for layer in piece.body) == 1
    pieces, _ = cut(layers, image, "block")
    assert [piece.name for piece in pieces] == starts
    # A new resolution begins after every block but the last.
    assert [len(piece.tail) for piece in pieces] == [1] * (len(pieces) - 1) + [0]


@pytest.mark.parametrize("partition", ["layer", "block"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_pooling_is_no_part_of_the_features(partition, norm):
    layers = make("small-cnn", (1, 13, 11), widths=[2, 3, 4], pools=[2], norm=norm).eval()
    x = torch.randn(2, 1, 13, 11)

    pieces, head = cut(layers, (1, 13, 11), partition)

    for piece in pieces:
        assert isinstance(piece.body[-1], nn.ReLU)
        assert all(isinstance(layer, nn.AvgPool2d) for layer in piece.tail)
    assert torch.equal(run(pieces, head, x), layers(x))
    assert [m for piece in pieces for m in (*piece.body, *piece.tail)] == list(layers)


@pytest.mark.parametrize(("name", "layers", "blocks", "stages"), BACKBONES)
def test_the_pieces_of_a_backbone_are_the_backbone(name, layers, blocks, stages):
    network = backbone(name).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(x)

    counts = {"layer": layers, "block": blocks, "stage": stages, "count": 3}
    for partition, count in counts.items():
        options = {"blocks": 3} if partition == "count" else {}
        pieces, head = cut(network, (3, 64, 64), partition, **options)

        assert torch.equal(run(pieces, head, x), expected), partition
        assert sorted(names_of(pieces, head)) == sorted(network.state_dict()), partition
        assert len(pieces) >= count
        assert partition != "count" or len(pieces) == 3
        shown = [piece.features(_value(pieces, place, x)) for place, piece in enumerate(pieces)]
        assert all(features.dim() == 4 for features in shown)


def _value(pieces, place, x):
    with torch.no_grad():
        for piece in pieces[:place]:
            x = piece.tail(piece.body(x))
        return pieces[place].body(x)


def test_the_blocks_of_a_count_cost_about_the_same():
    network = backbone("torchvision/resnet18")
    pieces, _ = cut(network, (3, 64, 64), "count", blocks=3)

    assert [piece.name for piece in pieces] == ["conv1", "layer2", "layer3.1"]


def test_the_blocks_of_a_count_keep_about_as_many_bytes():
    options = {"widths": [8, 8, 96], "pools": [1, 2], "norm": "batch", "pool": "max"}
    network = make("small-cnn", (4, 8, 8), **options)
    chain = Chain(network, torch.zeros(2, 4, 8, 8), 10)
    names = [chain.output(place).name for place in range(len(chain.atoms))]
    found = dict(zip(names, (kept // 2 for kept in chain.memory), strict=True))

    # Of an image, in float32: convolutions and norms keep what they take, ReLUs in place what they
    # give, and poolings by maximum the places of it, in int64.
    assert found == {
        **{"conv1": 4 * 4 * 64, "norm1": 4 * 8 * 64, "relu1": 4 * 8 * 64, "pool1": 8 * 8 * 16},
        **{"conv2": 4 * 8 * 16, "norm2": 4 * 8 * 16, "relu2": 4 * 8 * 16, "pool2": 8 * 8 * 4},
        **{"conv3": 4 * 8 * 4, "norm3": 4 * 96 * 4, "relu3": 4 * 96 * 4},
    }
    for by, second in [("memory", "conv2"), ("flops", "conv3")]:
        pieces, _ = cut(network, (4, 8, 8), "count", blocks=2, by=by)
        assert [piece.name for piece in pieces] == ["conv1", second]


@pytest.mark.parametrize("name", ["torchvision/resnet18", "torchvision/mobilenet_v3_small"])
@pytest.mark.parametrize("blocks", [2, 3])
def test_the_sections_of_a_piece_are_its_body(name, blocks):
    network = backbone(name).eval()
    rule = {"name": "count", "blocks": blocks}
    pieces, _ = split(network, torch.zeros(2, 3, 64, 64), 10, rule, sections=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for piece in pieces:
            value = x
            for section in piece.sections:
                assert section.input.spread(value).shape[1:] == section.shape
                value = section.layers(value)
            assert len(piece.sections) > 1
            assert torch.equal(value, piece.body(x))
            x = piece.tail(value)
    assert not any(piece.sections for piece in cut(network, (3, 64, 64), "block")[0])


def test_more_blocks_than_there_are_layers():
    with pytest.raises(InputError, match="at most 4 blocks, not 5"):
        cut(make("small-cnn", (1, 32, 32)), (1, 32, 32), "count", blocks=5)


class Skips(nn.Module):
    """Residuals, dropout and an in-place activation, all in its own forward."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 10)
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, x):
        x = self.stem(x) * self.scale
        x = x + self.one(F.relu(x))
        x = F.dropout(x, 0.5, training=self.training)
        x = x + self.two(self.relu(x.clone()))
        return self.fc(x.mean((2, 3)))


def test_skips_in_the_network_s_own_forward():
    torch.manual_seed(0)
    network = Skips().eval()
    x = torch.randn(2, 3, 8, 8)

    pieces, head = cut(network, (3, 8, 8), "block")

    assert [piece.name for piece in pieces] == ["stem", "one", "relu"]
    assert torch.equal(run(pieces, head, x), network(x))
    assert sorted(names_of(pieces, head)) == sorted(network.state_dict())


class Moded(nn.Module):
    """``work(x, training)`` in its own forward, then a classifier."""

    def __init__(self, work):
        super().__init__()
        self.work = work
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        x = self.work(self.stem(x).relu(), self.training)
        return self.fc(self.conv(x).relu().mean((2, 3)))


def branch(x, training):
    if training:
        x = x + torch.rand_like(x)
    return x


class Apply(nn.Module):
    """``work(x, training)``; ``work`` may be a submodule."""

    def __init__(self, work):
        super().__init__()
        self.work = work

    def forward(self, x):
        return self.work(x, self.training)


class Drop(nn.Module):
    def forward(self, x, training):
        return F.dropout(x, 0.5, training)


DROPS = {
    "named": lambda x, training: F.dropout(x, 0.5, training=training),
    "by place": lambda x, training: F.dropout(x, 0.5, training),
    "torch": lambda x, training: torch.dropout(x, 0.9, training),
    "torch by name": lambda x, training: torch.dropout(input=x, p=0.9, train=training),
    "channels": lambda x, training: F.dropout2d(x, 0.5, training),
    "branch": nn.Sequential(Apply(branch)),
    "submodule": nn.Sequential(Apply(Drop())),
}


@pytest.mark.parametrize("name", DROPS)
def test_dropout_follows_the_mode(name):
    work = DROPS[name]
    if isinstance(work, nn.Module):
        network = nn.Sequential(
            nn.Conv2d(3, 8, 1), work, nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(512, 10)
        )
    else:
        network = Moded(work)
    pieces, head = cut(network, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8)

    def scores(training):
        for piece in pieces:
            piece.body.train(training)
        return nn.Sequential(*(nn.Sequential(p.body, p.tail) for p in pieces), head)(x)

    assert all(part.training is True for part in network.modules())
    assert len(pieces) == 2
    assert torch.equal(scores(False), network.eval()(x))
    assert not torch.equal(scores(True), scores(True))
    torch.manual_seed(0)
    learning = scores(True)
    torch.manual_seed(0)
    assert torch.equal(learning, network.train()(x))


def test_dropout_that_is_always_on_stays_on():
    pieces, _ = cut(Moded(lambda x, training: F.dropout(x, 0.5)), (3, 8, 8))
    body = pieces[0].body.eval()
    x = torch.randn(2, 3, 8, 8)

    assert not torch.equal(body(x), body(x))


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (branch, r"Moded .* \('if training:'\): it does something else in training"),
        (
            lambda x, training: torch.batch_norm(
                x, None, None, torch.zeros(8), torch.ones(8), training, 0.1, 1e-5, False
            ),
            "Moded: 'batch_norm' depends on the mode",
        ),
        (lambda x, training: x + 0.1 * training, "Moded: 'mul' depends on the mode"),
    ],
)
def test_what_depends_on_the_mode_in_the_network_s_own_forward(work, message):
    with pytest.raises(InputError, match=message) as error:
        cut(Moded(work), (3, 8, 8))
    assert "\n" not in str(error.value)


def test_a_branch_on_the_mode_that_changes_nothing_is_fine():
    def work(x, training, more=False):
        return x + 1 if training and more else x.relu()

    pieces, head = cut(Moded(work), (3, 8, 8))

    assert len(pieces) == 2
    assert head is not None


def test_a_block_does_not_write_into_what_it_is_given():
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3)),
        *(nn.Flatten(), nn.Linear(4, 10)),
    )
    pieces, head = cut(network, (3, 8, 8), "block")
    x = torch.randn(2, 3, 8, 8)

    assert len(pieces) == 2
    for piece in pieces:
        kept = x.clone()
        value = piece.body(x)
        assert torch.equal(x, kept)
        x = piece.tail(value).detach()
    assert head(x).shape == (2, 10)


def test_an_mlp_s_units_are_maps_of_one_pixel():
    network = nn.Sequential(
        *(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 10))
    )
    pieces, head = cut(network, (3, 2, 2))
    x = torch.randn(2, 3, 2, 2)

    shown = [p.features(_value(pieces, i, x)).shape for i, p in enumerate(pieces)]
    assert shown == [(2, 8, 1, 1), (2, 6, 1, 1)]
    assert torch.equal(run(pieces, head, x), network(x))


def test_a_parameter_used_twice_stays_in_one_block():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    layers = [shared, nn.ReLU(), nn.Conv2d(3, 3, 1), shared, nn.ReLU(), nn.Conv2d(3, 4, 1)]
    pieces, _ = cut(nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 10)), (3, 8, 8))

    assert [len(list(piece.body.parameters())) for piece in pieces] == [4, 2]


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        x = self.conv(x)
        if x.mean() > 0:
            x = -x
        return self.fc(x.mean((2, 3)))


class TwoInputs(nn.Module):
    def forward(self, image, mask):
        return image * mask


def test_a_network_that_cannot_be_followed_names_the_line():
    with pytest.raises(InputError, match=r"test_partitions\.py:\d+ \('if x\.mean\(\) > 0:'\)") as e:
        cut(Branching(), (3, 8, 8))
    assert "localize([block1" in str(e.value)


def test_a_submodule_that_cannot_be_followed_is_one_block():
    class Inner(Branching):
        def forward(self, x):
            x = self.conv(x)
            return -x if x.mean() > 0 else x

    network = nn.Sequential(Inner(), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(144, 10)).eval()
    pieces, head = cut(network, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8)

    assert [piece.name for piece in pieces] == ["0", "1"]
    assert torch.equal(run(pieces, head, x), network(x))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (TwoInputs(), "takes 2 inputs"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), "cannot serve an image of 3x8x8"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), "tells 7 classes apart, but there are 10"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Softmax(1)), "logits"),
        (nn.Sequential(nn.ReLU()), "has no convolution or linear layer"),
        (torchvision.ops.Conv2dNormActivation(3, 10), None),
        (nn.Sequential(nn.Conv2d(3, 10, 3), nn.Flatten(2)), "is no classifier"),
    ],
)
def test_what_is_no_classifier(network, message):
    if message is None:  # a chain that ends in a map has no classifier of its own
        assert cut(network, (3, 8, 8))[1] is None
        return
    with pytest.raises(InputError, match=message):
        cut(network, (3, 8, 8))


def test_blocks_by_hand():
    blocks = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)]
    head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 16, 10))

    pieces, own = split_by_hand([*blocks, head], torch.zeros(2, 3, 8, 8), 10)

    assert [list(piece.body) for piece in pieces] == [[block] for block in blocks]
    assert list(own) == [head]
    assert names_of(pieces, own) == list(nn.Sequential(*blocks, head).state_dict())


def fail(x, training):
    raise ValueError("two\nlines")


CONV = nn.Conv2d(3, 4, 3)
HEAD = nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 10))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one block"),
        ([HEAD], "at least one block"),
        ([CONV, None], "a module, not a NoneType"),
        ([CONV, 5, HEAD], "a module, not a int"),
        ([CONV, CONV, HEAD], r"number 2 cannot take what comes, \(2, 4, 6, 6\): "),
        ([Apply(fail), HEAD], "number 1 cannot take .*: two$"),
        ([Apply(lambda x, _: (x, x)), HEAD], "number 1 gives a tuple; one tensor"),
        ([Apply(lambda x, _: x[..., None]), HEAD], "number 1 gives a tensor"),
        ([Apply(lambda x, _: x[:1]), HEAD], "number 1 gives a tensor"),
        ([CONV, nn.Sequential(nn.Flatten(), nn.Linear(5, 10))], "the classifier cannot take"),
        ([CONV, nn.Linear(6, 10)], r"scores \(N, 10\), but gives \('N', 4, 6, 10\)"),
        ([CONV, nn.Sequential(nn.Flatten(), nn.Linear(144, 7))], r"but gives \('N', 7\)"),
    ],
)
def test_parts_that_do_not_fit(parts, message):
    with pytest.raises(InputError, match=f"^blocks: .*{message}") as error:
        split_by_hand(parts, torch.zeros(2, 3, 8, 8), 10)
    assert "\n" not in str(error.value)
