"""Spectral local learning: full-rank teaching for single convolutions; our own strict method.

A layer that learns from a linear head on its global average is taught with at most K - 1
directions, however wide it is, and what it was not taught is lost to the layers behind it. Two
things keep both the signal and the update of high rank, at little cost:

1. The head is a small convolutional network on the layer's map, averaged to 4 x 4 cells first, so
   that its cost does not grow with the image. dL/dh then spans as many directions as the head has
   kernels, and the layer may leave to the head what only a deeper network can answer: it prepares
   more and answers less.
2. Kernels are updated by Muon: the update's singular values are all brought near 1, so that weak
   directions of the signal count as much as strong ones.

The rest is the frame of the fast CIFAR recipes (airbench94, arXiv 2404.00498), which backprop can
have as well: a frozen whitening layer, convolution - pooling - norm - GELU, Dirac start, label
smoothing, alternating flips, a rate that falls in a straight line to 0.

With h_0 = GELU(whiten(x)), sg the stop of the gradient, and P the average over 4 x 4 cells:

    h_l = GELU(BN(pool(conv_l(sg h_(l-1)))))
    z_l = W_l vec(GELU(BN(head_l * P h_l)))
    L_l = CE_e(z_l, y)

The last layer answers.

What each part gave is in docs/ladder.md (CIFAR-10, 1,000 images of each class, five epochs, three
seeds, validation). With AdamW and linear heads this is 5.5 points behind backprop. Muon lifts both,
by 11.5 and 12.0; the rest of the frame and shortcuts lift both and leave 3.8. The convolutional
head alone brings it to 0.9, and mirrored test images to 0.6, within the seeds' deviation.

    goodness train --method spectral-local --data cifar10
"""

from __future__ import annotations

from goodness.methods.base import BY_DATA, FAST_FRAME, LAYERWISE, Locality, Method, register

SPECTRAL_LOCAL = register(
    Method(
        name="spectral-local",
        title="Convolutional heads and spectral updates of single layers",
        equation="loss = CE(W GELU(BN(head * P h)), y),  kernels by orthogonalised momentum",
        use="The default: the most accurate layer by layer, and fast.",
        paper="ours; parts from arXiv 1901.08164, 2404.00498 and Jordan et al. 2024 (Muon)",
        locality=Locality.LAYER,
        values={
            **LAYERWISE,
            **FAST_FRAME,
            "objective": {"name": "convolutional", "grid": 4, "widths": [128]},
            "readouts": {"last": {}},
            "epochs": 16,
        },
        for_data={
            "digits": {
                **BY_DATA["digits"],
                "model": {"widths": [32, 64, 128, 128]},
                "epochs": 20,
                "batch_size": 64,
            },
            "mnist": BY_DATA["mnist"],
            "fashion_mnist": {"augment": {"crop": 2, "flip": "alternate"}},
            "svhn": BY_DATA["svhn"],
        },
    )
)
