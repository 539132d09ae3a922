"""Tensors in JSON: read right, refused where Python's parser would, and never at its cost."""

import json
import random
import time

import numpy as np
import pytest

from neurogaze_fast.deploy.server.http_errors import RequestError
from neurogaze_fast.deploy.server.inference_protocol import read_infer
from neurogaze_fast.deploy.server.json_numbers import MAX_REST, Numbers, parse_json

SHAPE = (2, 2, 2, 3)
LARGE = 8_000_000
CPU_S = 0.2
"""Processor time that a hostile body of 8 MB may take at most; about 0.03 s, on an idle machine."""
HEAD = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[64,64,64,3],"data":['


def by_python(text):
    """What Python's own parser and plain loops make of it: an array, or None."""
    try:
        values = json.loads(text)
    except ValueError:
        return None

    def shape(value):
        if not isinstance(value, list):
            return ()
        inner = {shape(part) for part in value}
        return (len(value), *inner.pop()) if len(inner) == 1 else None

    count = int(np.prod(SHAPE))
    try:
        if shape(values) not in (SHAPE, (count,)):
            return None
    except TypeError:  # rows of several shapes
        return None
    array = np.array(values)
    return array.reshape(SHAPE) if (array <= 255).all() else None


def by_us(text):
    try:
        return Numbers(text).read(SHAPE)
    except RequestError:
        return None


@pytest.mark.parametrize("indent", [None, 0, 3])
def test_flat_and_nested_lists_are_read(indent):
    values = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    for given in (values.tolist(), values.ravel().tolist()):
        assert np.array_equal(by_us(json.dumps(given, indent=indent).encode()), values)
    assert Numbers(b" [ ] ").read((0, 2, 2, 3)).shape == (0, 2, 2, 3)


def test_what_pythons_parser_refuses_is_refused_and_nothing_else():
    chance = random.Random(0)
    values = np.random.default_rng(0).integers(0, 256, SHAPE)
    outcomes = []
    for turn in range(6000):
        given = values.tolist() if turn % 2 else values.ravel().tolist()
        text = bytearray(json.dumps(given, separators=(",", ":")).encode())
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            kind = chance.random()
            if kind < 0.4:
                text[at : at + 1] = bytes([chance.choice(b"0123456789,[] \n")])
            elif kind < 0.7:
                text[at:at] = bytes([chance.choice(b"0129,[] \n")])
            elif kind < 0.9:
                del text[at]
            else:
                other = chance.randrange(len(text))
                text[at], text[other] = text[other], text[at]
        expected, found = by_python(bytes(text)), by_us(bytes(text))
        assert (expected is None) == (found is None), bytes(text)
        assert expected is None or np.array_equal(expected, found), bytes(text)
        outcomes.append(found is None)
    assert 0.1 < np.mean(outcomes) < 0.9


@pytest.mark.parametrize("other", ['{"id":"data",%s}', '{"parameters":{"data":[1,[2]]},%s}'])
def test_other_things_called_data_are_left_alone(other):
    tensor = {"name": "images", "datatype": "UINT8", "shape": SHAPE, "data": [5] * 24}
    body = other % f'"inputs":{json.dumps([tensor])}'
    assert (read_infer(body.encode(), None, 2, 64).images == 5).all()


def test_the_rest_of_the_json_is_read_as_ever():
    value = {"a": [1, 2.5, None, "data"], "data": "x", "b": {"data": [1, -1]}, "c": [{"data": []}]}
    assert parse_json(json.dumps(value).encode()) == {**value, "c": [{"data": b"[]"}]}
    assert parse_json(b'{"a": "%s"}' % (b"x" * (MAX_REST - 9)))["a"].startswith("x")
    with pytest.raises(RequestError, match="cannot be parsed: more than 65536 bytes"):
        parse_json(b'{"a": "%s"}' % (b"x" * (MAX_REST - 8)))


def fill(unit, before=b'{"inputs":[', after=b"]}"):
    """About 8 MB of one thing again and again."""
    return before + unit * ((LARGE - len(before)) // len(unit)) + unit.rstrip(b",") + after


HOSTILE = {
    "lists": fill(b"[],"),
    "objects": fill(b"{},"),
    "deep": b"[" * LARGE,
    "deep data": fill(b"[", HEAD, b""),
    "closed deep data": HEAD + b"[" * (LARGE // 2) + b"]" * (LARGE // 2) + b"]}]}",
    "lists for numbers": fill(b"[],", HEAD, b"]}]}"),
    "too many numbers": fill(b"1,", HEAD, b"]}]}"),
    "one large number": fill(b"9", HEAD, b"]}]}"),
    "many large numbers": fill(b"9" * 4000 + b","),
    "floats": fill(b"1e1,"),
    "floats for numbers": fill(b"1e1,", HEAD, b"]}]}"),
    "keys": b"{" + b",".join(b'"%x":1' % i for i in range(LARGE // 11)) + b"}",
    "one key": fill(b'"data":[],', b"{", b"}"),
    "one text": fill(b"\\u0041", b'{"id":"', b'"}'),
    "texts": fill(b'"ab",'),
    "spaces": fill(b" ", b"", b"{}"),
    "spaces in data": fill(b" ", HEAD, b"1]}]}"),
    "zeros": bytes(LARGE),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("binary", [False, True])
def test_a_hostile_body_costs_next_to_nothing(name, binary):
    body = HOSTILE[name]
    began = time.thread_time()
    with pytest.raises(RequestError) as refused:
        read_infer(body + b"x" * binary, str(len(body)) if binary else None, 64, 64)
    assert time.thread_time() - began < CPU_S
    assert refused.value.status == 400
    assert len(refused.value.message) < 200


def test_a_promised_shape_costs_nothing():
    body = HEAD.replace(b"[64,", b"[4096,") + b"[[[1]]]]}]}"
    began = time.thread_time()
    with pytest.raises(RequestError, match="does not have its tensor's shape"):
        read_infer(body, None, 64, 4096)
    assert time.thread_time() - began < CPU_S
