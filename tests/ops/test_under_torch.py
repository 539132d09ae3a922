"""The operators under torch.compile, autocast, CUDA graphs and torch's check for waits."""

import pytest
import torch

from neurogaze_fast import ops
from tests import tolerances
from tests.ops.exactness import (
    LOGIT_OPTIONS,
    PROTO_OPTIONS,
    logit_inputs,
    proto_inputs,
)


def proto(f, p, q, labels):
    return ops.proto_geo_loss(f * 1.5, p, q, labels, **PROTO_OPTIONS)


def hooked(f, p, q, labels):
    return ops.proto_geo_loss(
        f * 1.5, p, q, labels, **PROTO_OPTIONS, reduce=lambda s, c: (2 * s, 2 * c)
    )


def logit(z, y, w, t):
    return ops.logit_loss(z * 1.5, y, w, t, **LOGIT_OPTIONS)


def no_teacher(z, y, w, _):
    return ops.logit_loss(z * 1.5, y, w, None, **LOGIT_OPTIONS)


FUNCTIONS = {
    "proto": (proto, lambda batch: proto_inputs((batch, 20, 5, 8), torch.float32)),
    "hooked": (hooked, lambda batch: proto_inputs((batch, 20, 5, 8), torch.float32)),
    "logit": (logit, lambda batch: logit_inputs((batch, 8), torch.float32)),
    "no teacher": (no_teacher, lambda batch: logit_inputs((batch, 8), torch.float32)),
}


def gradients(function, tensors):
    leaf = tensors[0].detach().clone().requires_grad_()
    outputs = function(leaf, *tensors[1:])
    sum(outputs).backward()
    return [x.detach() for x in outputs], leaf.grad


@pytest.fixture
def compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("compiler", "cpu")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiles_to_one_graph(name, dynamic):
    function, inputs = FUNCTIONS[name]
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for batch in (33, 150):
        torch.testing.assert_close(
            gradients(compiled, inputs(batch)), gradients(function, inputs(batch)),
            **tolerances.same_formula(torch.float32),
        )  # fmt: skip


@pytest.mark.usefixtures("compiler", "cpu")
@pytest.mark.parametrize("name", ["proto", "logit"])
def test_one_graph_serves_every_batch(name):
    function, inputs = FUNCTIONS[name]
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(function, fullgraph=True, backend=count, dynamic=True)
    for batch in (33, 150, 64, 300):
        outputs, expected = compiled(*inputs(batch)), function(*inputs(batch))
        torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    assert len(graphs) == 1


@pytest.mark.usefixtures("compiler", "cpu")
@pytest.mark.parametrize("name", ["proto", "logit"])
def test_inductor_compiles_forward_and_backward(name):
    function, inputs = FUNCTIONS[name]
    compiled = torch.compile(function, fullgraph=True)
    torch.testing.assert_close(
        gradients(compiled, inputs(33)), gradients(function, inputs(33)),
        **tolerances.same_formula(torch.float32),
    )  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", ["native", "reference"])
def test_autocast_changes_nothing(request, monkeypatch, name, kind):
    request.getfixturevalue("cpu")
    if kind == "reference":
        monkeypatch.setattr(ops._library, "native", lambda device: False)
    function, inputs = FUNCTIONS[name]
    tensors = inputs(33)
    tensors = (tensors[0].bfloat16(), *tensors[1:])
    want = gradients(function, tensors)
    leaf = tensors[0].clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = function(leaf, *tensors[1:])
    sum(outputs).backward()  # outside, as torch asks
    got = [x.detach() for x in outputs], leaf.grad
    limits = tolerances.same_formula(torch.float32)
    torch.testing.assert_close(got[0], want[0], **limits)
    limits["rtol"] = torch.finfo(torch.bfloat16).eps
    torch.testing.assert_close(got[1], want[1], **limits)


@pytest.mark.usefixtures("cpu")
def test_a_model_trains_under_autocast():
    f, *others = proto_inputs((33, 20, 5, 8), torch.float32)
    layer = torch.nn.Linear(20, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = layer(f)
        total = sum(ops.proto_geo_loss(features, *others, **PROTO_OPTIONS))
    total.backward()
    assert features.dtype == torch.bfloat16
    assert total.dtype == layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.abs().sum() > 0


def to_cuda(tensors):
    return tuple(x.cuda() for x in tensors)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_cuda_graph_replays_what_runs_without_one(name):
    function, inputs = FUNCTIONS[name]
    tensors = list(to_cuda(inputs(129)))
    tensors[0].requires_grad_()

    def step():
        outputs = function(*tensors)
        (gradient,) = torch.autograd.grad(sum(outputs), tensors[0])
        return [*outputs, gradient]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in range(3):
        with torch.no_grad():
            tensors[0].copy_(torch.randn(tensors[0].shape) + seed)
        graph.replay()
        replayed = [x.detach().clone() for x in captured]
        torch.testing.assert_close(replayed, [x.detach() for x in step()], rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_waits_for_the_gpu(name):
    function, inputs = FUNCTIONS[name]
    tensors = to_cuda(inputs(129))
    gradients(function, tensors)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradients(function, tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gpu_gives_what_the_cpu_gives(cpu, name):
    function, inputs = FUNCTIONS[name]
    tensors = inputs(257)
    (values, gradient), (wanted, wanted_gradient) = (
        gradients(function, to_cuda(tensors)),
        gradients(function, tensors),
    )
    limits = tolerances.same_formula(torch.float32)
    torch.testing.assert_close([x.cpu() for x in values], wanted, **limits)
    torch.testing.assert_close(gradient.cpu(), wanted_gradient, **limits)
