"""A student with answers of many kinds, without training: random features, fitted classifier."""

import json
import os
import shutil

import numpy as np
import torch

from neurogaze_fast.artifacts import write_artifact
from neurogaze_fast.deploy.engines.onnx_safety import open_graph
from neurogaze_fast.deploy.engines.open import parity_file
from neurogaze_fast.faces.labels import hard_labels
from neurogaze_fast.faces.resident import plain_batches
from neurogaze_fast.faces.synthetic import draw_faces
from neurogaze_fast.student.inference import save_model
from neurogaze_fast.student.resnet import ResNet

SIZE = 32


def fitted_student(images, votes, *, size=SIZE, architecture="resnet18", stem="small"):
    """ResNet whose BatchNorm has seen `images` and whose fc is a ridge regression on features."""
    torch.manual_seed(0)
    model = ResNet(architecture, stem=stem)
    batches = list(plain_batches(images, size=size, batch_size=64, device=torch.device("cpu")))
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.momentum = None  # the running statistics are the plain mean
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
        model.train()
        for batch in batches:
            model(batch)
        model.eval()
        features = torch.cat([model(batch)[0] for batch in batches]).double()
        targets = torch.eye(8, dtype=torch.float64)[torch.from_numpy(hard_labels(votes))]
        mean = features.mean(0)
        centred = features - mean
        gram = centred @ centred.T + 0.1 * len(images) * centred.var() * torch.eye(len(images))
        weight = (centred.T @ torch.linalg.solve(gram, targets - 0.125)).T * 8
        model.fc.weight.copy_(weight)
        model.fc.bias.copy_(-(weight @ mean))
    return model


def write_run(folder, *, size=SIZE, synthetic=True, **options):
    """A run folder that holds such a student's model file, and nothing else."""
    images, votes = draw_faces("train", 192)
    model = fitted_student(images, votes, size=size, **options)
    metadata = {
        "size": size,
        "flip": False,
        "synthetic": synthetic,
        "data": {"source": "drawn", "sha256": "0" * 64, "synthetic": synthetic},
        "selected": {"by": "last", "epoch": 1, "on": "valid", "value": 0.5},
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.safetensors", model, model.state_dict(), metadata)
    return folder


def linked_copy(run, folder):
    """A copy of a run folder whose files take no space: replace them, never write into them."""
    return shutil.copytree(run, folder, copy_function=os.link)


def graphs_of(folder, run, *precisions, checkpoint=True):
    """A folder whose graphs claim these precisions, made of the fp32 one."""
    there = open_graph(run / "export" / "fp32.onnx")
    for precision in precisions:
        metadata = {**there.metadata, "precision": precision}
        write_artifact(folder / "export" / f"{precision}.onnx", there.data, metadata)
    for name in ("model.safetensors", "model.manifest.json") if checkpoint else ():
        shutil.copy(run / name, folder)
    return folder if checkpoint else folder / "export"


def write_report(folder, engine, precision, passed):
    """A parity report of a graph in `folder`."""
    graph = open_graph(folder / f"{precision}.onnx")
    text = json.dumps({"graph_sha256": graph.sha256, "passed": passed})
    parity_file(folder, engine, precision).write_text(text)


def colour_faces(count, side=SIZE, seed=0):
    """uint8 [count, side, side, 3]: drawn faces under a random tint."""
    from neurogaze_fast.deploy.predictor import prepare_face

    images, _ = draw_faces("valid", count)
    tints = np.random.default_rng(seed).uniform(0.5, 1, (count, 1, 1, 3))
    grey = np.stack([prepare_face(image, side) for image in images])
    return (grey * tints).astype(np.uint8)
