"""Every network: shapes, names, types, derivatives, and the same logits as PyTorch's own modules."""

import pickle

import pytest
import torch
from oracles import networks as oracle

from fedistill.errors import SettingError
from fedistill.models import MODELS, ViT, build, objective

NEW = sorted(set(MODELS) - {"convnet"})
F64 = torch.float64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(network, seed=0, dtype=F64):
    """Parameters away from where norms are at identity and biases at zero."""
    g = generator(seed)
    return tuple(p + 0.2 * torch.randn(p.shape, generator=g, dtype=dtype) for p in network.init(g, dtype=dtype))


def images(*shape, seed=1, dtype=F64):
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def test_the_models_have_the_names_people_write():
    assert sorted(MODELS) == ["convnet", "mlp", "resnet18", "vgg11", "vit-tiny"]
    with pytest.raises(SettingError, match="did you mean 'resnet18'"):
        build("resnet", channels=1, classes=2, size=28)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 12, 28, 32, 33, 64, 128, 224])
def test_logits_for_every_size(name, channels, size):
    network = build(name, channels=channels, classes=5, size=size, width=4)
    params, x = network.init(generator(), dtype=F64), images(2, channels, size, size)
    logits = network(params, x)
    assert logits.shape == (2, 5)
    torch.testing.assert_close(torch.nn.functional.linear(network.embed(params, x), *params[-2:]), logits)
    # No layer is left without anything to pass on: images and every weight matter.
    leaves = tuple(p.detach().requires_grad_() for p in moved(network))
    x.requires_grad_()
    grads = torch.autograd.grad(objective(network(leaves, x), torch.tensor([0, 1])), (x, *leaves))
    dead = [n for n, g, p in zip(("x", *network.names), grads, (x, *leaves), strict=True) if p.ndim > 1 and not g.any()]
    assert not dead


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("width", [1, 3, 32, 128])
def test_names_are_unique_and_match_the_parameters(name, width):
    network = build(name, channels=3, classes=4, size=28, width=width)
    params = network.init(generator())
    assert len(set(network.names)) == len(network.names) == len(params)
    assert network.names[-2:] == ("linear.weight", "linear.bias")
    assert all(
        (".bias" in n or "norm" in n or n == "class_token") == (p.ndim == 1)
        for n, p in zip(network.names, params, strict=True)
    )
    assert pickle.loads(pickle.dumps(network)) == network
    assert network(params, torch.zeros(1, 3, 28, 28)).shape == (1, 4)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_come_from_the_generator_alone(name):
    network = build(name, channels=1, classes=2, size=28, width=8)
    before = torch.get_rng_state()
    one, same, other = network.init(generator(3)), network.init(generator(3)), network.init(generator(4))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    drawn = [n for n, a, b in zip(network.names, one, other, strict=True) if not torch.equal(a, b)]
    assert {n for n, p in zip(network.names, one, strict=True) if p.ndim > 1} <= set(drawn)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, F64])
def test_the_type_of_the_parameters_is_kept(name, dtype):
    network = build(name, channels=1, classes=3, size=28, width=8)
    params = network.init(generator(), dtype=dtype)
    assert all(p.dtype == dtype for p in params)
    params, x = tuple(p.requires_grad_() for p in params), images(4, 1, 28, 28, dtype=torch.float32).to(dtype)
    x.requires_grad_()
    logits = network(params, x)
    grads = torch.autograd.grad(objective(logits, torch.arange(4) % 3), params, create_graph=True)
    by_x = torch.autograd.grad(sum(g.square().sum() for g in grads), x)[0]
    assert {logits.dtype, network.embed(params, x).dtype, by_x.dtype, *(g.dtype for g in grads)} == {dtype}
    assert torch.isfinite(by_x).all() and by_x.any()


@pytest.mark.parametrize("name", NEW)
def test_first_and_second_derivatives(name):
    """In the images and in all parameters, along a few directions, against finite differences."""
    network = build(name, channels=1, classes=2, size=8, width=2)
    params, x, y = moved(network), images(2, 1, 8, 8), torch.tensor([0, 1])
    ways = [images(*p.shape, seed=i) for i, p in enumerate((x, *params))]
    at = torch.zeros(4, dtype=F64, requires_grad=True)

    def loss(at):
        x_moved, *theirs = (
            p + at[i % len(at)] * way for i, (p, way) in enumerate(zip((x, *params), ways, strict=True))
        )
        return objective(network(tuple(theirs), x_moved), y)

    assert torch.autograd.gradcheck(loss, at, eps=1e-6, atol=1e-6)
    assert torch.autograd.gradgradcheck(loss, at, eps=1e-6, atol=1e-5)


def like(module, params):
    """The module with these parameters, in its own order."""
    module = module.to(F64)
    for theirs, mine in zip(module.parameters(), params, strict=True):
        theirs.data.copy_(mine)
    return module


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["mlp", "vgg11", "resnet18"])
def test_logits_are_those_of_pytorchs_modules(name, channels):
    network = build(name, channels=channels, classes=4, size=28, width=8)
    module = {
        "mlp": lambda: oracle.mlp(channels, 4, 28, 8),
        "vgg11": lambda: oracle.vgg11(channels, 4, 8),
        "resnet18": lambda: oracle.resnet18(channels, 4, 8),
    }[name]()
    params, x = moved(network), images(3, channels, 28, 28)
    torch.testing.assert_close(network(params, x), like(module, params)(x))


def test_large_images_meet_the_published_resnet():
    network = build("resnet18", channels=3, classes=4, size=96, width=8)
    params, x = moved(network), images(2, 3, 96, 96)
    torch.testing.assert_close(network(params, x), like(oracle.resnet18(3, 4, 8, published_stem=True), params)(x))


@pytest.mark.parametrize(
    ("size", "patch", "tokens"), [(8, 1, 64), (28, 4, 49), (30, 4, 64), (64, 8, 64), (224, 28, 64)]
)
def test_a_vit_has_at_most_64_patches(size, patch, tokens):
    network = build("vit-tiny", channels=1, classes=2, size=size, width=2)
    assert (network.patch, network.tokens) == (patch, tokens + 1)


def test_a_vit_is_pytorchs_encoder():
    network = ViT(channels=3, classes=4, size=30, width=8, patch=4, depth=2)
    params = moved(network)
    named, x = dict(zip(network.names, params, strict=True)), images(3, 3, 30, 30)
    grey = torch.zeros(3, 3, 32, 32, dtype=F64)
    grey[:, :, :30, :30] = x
    torch.testing.assert_close(network(params, x), oracle.vit(named, grey, heads=3, depth=2))


@pytest.mark.parametrize(
    ("name", "channels", "classes", "size", "count"),
    [
        ("mlp", 1, 10, 28, 784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10),
        ("resnet18", 3, 10, 32, 11_173_962),
        ("resnet18", 3, 1000, 224, 11_689_512),
        ("vgg11", 3, 10, 32, 9_231_114),
        ("vgg11", 3, 10, 224, 9_231_114),
    ],
)
def test_as_many_parameters_as_published(name, channels, classes, size, count):
    network = build(name, channels=channels, classes=classes, size=size, width=128)
    assert sum(p.numel() for p in network.init(generator())) == count


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("size", [9, 28, 64, 128])
def test_activations_are_what_the_layers_put_out(name, size, monkeypatch):
    network, counted = build(name, channels=3, classes=2, size=size, width=4), []

    def counting(true):
        def put_out(*arguments, **named):
            made = true(*arguments, **named)
            counted.append(made.numel())
            return made

        return put_out

    with monkeypatch.context() as patch:
        for function in ("conv2d", "linear", "softmax"):
            patch.setattr(torch.nn.functional, function, counting(getattr(torch.nn.functional, function)))
        network(network.init(generator()), torch.zeros(1, 3, size, size))
    image = 3 * size**2 if name == "mlp" else 0
    assert sum(counted[:-1]) + image == network.activations  # the last layer's are few
