"""The network takes any map size; its file is verified; its answers do not depend on batching."""

import numpy as np
import pytest
import torch

from neurogaze_fast.artifacts import manifest_path, verified_open, write_artifact
from neurogaze_fast.errors import CheckpointError, OperatorError
from neurogaze_fast.teacher.model import TeacherNet, embed, load_teacher, save_teacher, teacher_path
from neurogaze_fast.teacher.views import Augmentation, Batches, ResidentMaps, step_generator, view
from tests.teacher.helpers import CPU


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13), (32, 32), (64, 64)])
def test_any_map_size(height, width):
    embedding, va = TeacherNet(4, 512)(torch.randn(3, 4, height, width))
    assert embedding.shape == (3, 512)
    assert va.shape == (3, 2)
    assert (va.abs() < 1).all()


@pytest.mark.parametrize("shape", [(3, 5, 8, 8), (4, 8, 8)])
def test_other_bands_are_refused(shape):
    with pytest.raises(OperatorError, match="4 bands"):
        TeacherNet(4)(torch.zeros(shape))


def test_embed_is_batch_free_and_leaves_the_mode():
    torch.manual_seed(0)
    model = TeacherNet(2, 16).train()
    maps, rows = torch.randn(50, 2, 8, 8).half(), np.array([3, 1, 49, 7])
    whole = embed(model, maps, rows, device=CPU)
    parts = embed(model, maps, rows, device=CPU, batch_size=3)
    assert model.training
    for one, other in zip(whole, parts, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-5)
    alone = embed(model, maps, rows[2:3], device=CPU)
    np.testing.assert_allclose(whole[1][2:3], alone[1], atol=1e-5)
    assert embed(model, maps, rows[:0], device=CPU)[0].shape == (0, 16)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_gradients_are_finite_and_alike_in_bfloat16(size):
    """On maps down to 1x1 inside, where the convolution library's own gradient may be NaN."""
    for seed in range(10):
        torch.manual_seed(seed)
        model, maps = TeacherNet(2, 16).eval(), torch.randn(64, 2, size, size)
        found = []
        for amp in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                embedding, va = model(maps)
            loss = (va.float() ** 2).mean() + embedding.float()[:, 0].mean()
            found.append(
                torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*model.parameters()])])
            )
        assert torch.isfinite(found[1]).all()
        assert torch.cosine_similarity(found[0], found[1], dim=0) > 0.98


@pytest.fixture
def saved(tmp_path):
    model = TeacherNet(2, 16)
    save_teacher(tmp_path / "teacher.safetensors", model, {"synthetic": True})
    return tmp_path / "teacher.safetensors", model


def test_round_trip(saved):
    path, model = saved
    loaded, metadata = load_teacher(path.parent)
    assert metadata["synthetic"]
    assert (loaded.bands, loaded.width, loaded.training) == (2, 16, False)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_flipped_bytes_are_refused(saved):
    path, _ = saved
    for victim in (path, manifest_path(path)):
        intact = victim.read_bytes()
        for position in np.random.default_rng(0).integers(0, len(intact), 40):
            damaged = bytearray(intact)
            damaged[position] ^= 1
            victim.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                load_teacher(path)
        victim.write_bytes(intact)
    load_teacher(path)


def test_what_is_no_teacher_is_refused(saved, tmp_path):
    path, _ = saved
    data, metadata = verified_open(path)
    write_artifact(path, data, metadata | {"kind": "student"})
    with pytest.raises(CheckpointError, match="not a teacher"):
        load_teacher(path)
    write_artifact(path, data, metadata | {"width": 32})
    with pytest.raises(CheckpointError, match="does not hold this version's teacher"):
        load_teacher(path)
    with pytest.raises(CheckpointError, match="Name a folder"):
        teacher_path(tmp_path / "absent")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="--resume"):
        teacher_path(tmp_path / "run")


# --- views and batches ----------------------------------------------------------------------------


def test_a_view_without_change_is_the_window(planted):
    store = ResidentMaps.of(planted, CPU)
    maps = store.maps[:5].float()
    generator = step_generator(0, 0, CPU)
    same = view(maps, store.mask, Augmentation(0, 0, 0), generator)
    assert torch.equal(same, maps)
    assert store.mask[0, 0] == 0
    assert store.mask.sum() == 63


def test_views_repeat_stay_inside_the_head_and_drop_whole_bands(planted):
    store = ResidentMaps.of(planted, CPU)
    maps, how = store.maps[:200].float(), Augmentation(0.3, 0.1, 1.0)
    first, again = (view(maps, store.mask, how, step_generator(1, 7, CPU)) for _ in range(2))
    other = view(maps, store.mask, how, step_generator(1, 8, CPU))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first[:, :, 0, 0] == 0).all()
    blank = (first == 0).flatten(2).all(2).float().mean()
    assert 0.2 < blank < 0.4


def test_a_shift_moves_the_map():
    maps = torch.zeros(1, 1, 9, 9)
    maps[0, 0, 4, 4] = 1
    moved = view(maps, torch.ones(9, 9), Augmentation(0, 0, 2.0), step_generator(0, 0, CPU))
    assert moved.sum() == pytest.approx(1, abs=1e-5)
    place = moved[0, 0].nonzero().float().mean(0)
    assert 0 < (place - 4).abs().max() <= 2


def test_batches_cover_and_can_be_entered_anywhere():
    rows, support = np.arange(100, 203), np.arange(40)
    batches = Batches(rows, support, 10, seed=0)
    assert len(batches) == 10
    epoch = list(batches.epoch(4))  # starts with a fresh round of the unlabelled
    labelled = np.concatenate([pair[0] for pair in epoch])
    assert len(np.unique(labelled)) == 100
    assert set(labelled) <= set(rows)
    unlabelled = np.concatenate([pair[1] for pair in epoch])
    assert len(unlabelled) == 50
    assert set(unlabelled[:40]) == set(support)  # a full round before anything comes again
    for whole, late in zip(epoch[6:], batches.epoch(4, start=6), strict=True):
        np.testing.assert_array_equal(whole[0], late[0])
        np.testing.assert_array_equal(whole[1], late[1])
    assert not np.array_equal(labelled, np.concatenate([b[0] for b in batches.epoch(5)]))


def test_sets_smaller_than_a_batch():
    batches = Batches(np.arange(5), np.arange(0), 64, seed=0)
    assert len(batches) == 1
    labelled, unlabelled = batches.batch(0, 0)
    assert sorted(labelled) == list(range(5))
    assert len(unlabelled) == 0
    assert len(Batches(np.arange(5), np.arange(3), 64, seed=0).batch(4, 0)[1]) == 3
