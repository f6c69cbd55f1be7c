"""Convolutional, locally and fully connected classifiers: outputs, scales, symmetries, laziness, mistakes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification

import rhm_hf
from rhm_hf import FullyConnectedConfig, Grammar, HierarchicalCNNConfig, LocallyConnectedConfig


V = 5
BOS, PAD, MASK = V, V + 1, V + 2
SIZES = {"vocab_size": V + 3, "max_position_embeddings": 8, "num_labels": 3}
CONFIGS = {
    "cnn": lambda **kwargs: HierarchicalCNNConfig(**{**SIZES, **kwargs}),
    "lcn": lambda **kwargs: LocallyConnectedConfig(**{**SIZES, **kwargs}),
    "fcn": lambda **kwargs: FullyConnectedConfig(**{**SIZES, **kwargs}),
    "lazy": lambda **kwargs: FullyConnectedConfig(lazy=True, **{**SIZES, **kwargs}),
}


def model_of(kind, seed=0, **kwargs):
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_config(CONFIGS[kind](**kwargs))


def inputs(batch=6, length=8, seed=1, high=V):
    return torch.randint(high, (batch, length), generator=torch.Generator().manual_seed(seed))


def one_hot(ids) -> np.ndarray:
    """Mean square 1 at a symbol; zero at every other id."""
    x = np.zeros((*ids.shape, V))
    for at, symbol in np.ndenumerate(ids.numpy()):
        if symbol < V:
            x[*at, symbol] = np.sqrt(V)
    return x


def plain_network(model, ids) -> tuple[list[np.ndarray], np.ndarray]:
    """Activations and logits, one position and one sum at a time."""
    config, x = model.config, one_hot(ids)
    activations = [x]
    for layer in model.layers:
        filters = layer.weight.detach().numpy()
        patch = filters.shape[2] // x.shape[2]
        above = np.zeros((len(x), x.shape[1] // patch, config.hidden_size))
        for position in range(above.shape[1]):
            filter = filters[position if len(filters) > 1 else 0].reshape(-1, patch, x.shape[2])
            for offset in range(patch):
                above[:, position] += x[:, position * patch + offset] @ filter[:, offset].T
        x = np.maximum(above / np.sqrt(patch * x.shape[2]), 0)
        activations.append(x)
    return activations, x.mean(1) @ model.classifier.weight.detach().numpy()[0].T / config.hidden_size


def randomised(model, seed=3, scale=1.0):
    """Other weights than at the start: for a lazy model those are 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


@pytest.mark.parametrize("kind", ["cnn", "lcn", "fcn"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])  # 4, 2 and 1 positions left
def test_outputs_are_those_of_a_plain_computation(kind, num_layers):
    model = model_of(kind, num_hidden_layers=num_layers, hidden_size=7).double()
    ids = inputs(high=V + 3)
    found = model(ids, output_hidden_states=True)
    activations, logits = plain_network(model, ids)
    assert len(found.hidden_states) == num_layers + 1
    for one, other in zip(found.hidden_states, activations, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.logits.detach().numpy(), logits, rtol=0, atol=1e-12)


def test_filters_of_three():
    model = model_of("cnn", filter_size=3, max_position_embeddings=9, num_hidden_layers=2, hidden_size=4).double()
    ids = inputs(length=9)
    np.testing.assert_allclose(model(ids).logits.detach().numpy(), plain_network(model, ids)[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", CONFIGS)
def test_saved_and_loaded_to_the_bit(kind, tmp_path):
    config = CONFIGS[kind](hidden_size=6)
    models = []
    for _ in range(2):
        torch.manual_seed(4)
        models.append(AutoModelForSequenceClassification.from_config(config))
    ids = inputs()
    assert all(map(torch.equal, models[0].state_dict().values(), models[1].state_dict().values()))
    model = randomised(models[0])
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(config)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert model(ids).logits.abs().max() > 0


def test_a_network_without_weight_sharing_can_have_equal_filters():
    shared, separate = model_of("cnn", hidden_size=6), model_of("lcn", hidden_size=6)
    ids = inputs()
    assert not torch.allclose(shared(ids).logits, separate(ids).logits)
    with torch.no_grad():
        for one, other in zip(
            [*separate.layers, separate.classifier], [*shared.layers, shared.classifier], strict=True
        ):
            one.weight.copy_(other.weight)  # broadcast over positions
    torch.testing.assert_close(separate(ids).logits, shared(ids).logits)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_swapping_patches_swaps_activations_where_filters_are_shared(level):
    ids, size = inputs(), 2**level
    swapped = torch.cat([ids[:, size : 2 * size], ids[:, :size], ids[:, 2 * size :]], 1)
    for kind, moves in (("cnn", True), ("lcn", False)):
        model = model_of(kind, hidden_size=6)
        before = model(ids, output_hidden_states=True).hidden_states
        after = model(swapped, output_hidden_states=True).hidden_states
        for layer in range(level + 1):
            half = size // 2**layer
            old = before[layer]
            expected = torch.cat([old[:, half : 2 * half], old[:, :half], old[:, 2 * half :]], 1)
            assert torch.allclose(after[layer], expected) == (moves or layer == 0)
        assert not torch.allclose(after[level + 1], before[level + 1])


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_no_symbol_is_an_empty_position(kind):
    model = randomised(model_of(kind, hidden_size=6))
    ids = inputs()
    for special in (BOS, PAD, MASK):
        hidden = ids.clone()
        hidden[:, -1] = special
        output = model(hidden, output_hidden_states=True)
        x = output.hidden_states[0]
        assert (x[:, -1] == 0).all()
        torch.testing.assert_close(x[:, :-1].square().mean(-1), torch.ones(6, 7))
        assert not torch.allclose(output.logits, model(ids).logits)
        mask = torch.ones_like(ids)
        mask[:, -1] = 0
        assert torch.equal(model(ids, attention_mask=mask).logits, output.logits)
    assert (model(torch.full_like(ids, MASK)).logits == 0).all()


@pytest.mark.parametrize("kind", ["cnn", "lcn", "fcn"])
def test_mean_field_scales(kind):
    """Pre-activations of order 1 at each width (halved by each ReLU), outputs of variance 1/width."""
    ids, outputs, squares = inputs(batch=16), {}, {}
    for width in (32, 128):
        logits, hidden = [], []
        for seed in range(30):
            with torch.no_grad():
                found = model_of(kind, seed, hidden_size=width, num_labels=20)(ids, output_hidden_states=True)
            logits.append(found.logits)
            hidden.append(torch.stack([x.square().mean() for x in found.hidden_states]))
        outputs[width], squares[width] = torch.stack(logits).square().mean().item(), torch.stack(hidden).mean(0)
    expected = torch.tensor([1, 1 / 2, 1 / 4, 1 / 8])
    for width in outputs:
        torch.testing.assert_close(squares[width], expected, rtol=0.2, atol=0)
        assert outputs[width] * width == pytest.approx(1 / 8, rel=0.25)


def test_a_lazy_network_is_linear_and_starts_at_zero():
    model = model_of("lazy", hidden_size=9).double()
    ids = inputs()
    assert (model(ids).logits == 0).all()
    assert (model(ids, output_hidden_states=True).hidden_states[-1] != 0).any()
    one, other, mixed = (randomised(model_of("lazy", hidden_size=9).double(), seed) for seed in (1, 2, 3))
    with torch.no_grad():
        for p, q, r in zip(one.parameters(), other.parameters(), mixed.parameters(), strict=True):
            r.copy_(3 * p - 0.5 * q)
    expected = 3 * one(ids).logits - 0.5 * other(ids).logits
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(mixed(ids).logits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_lazy_network_is_the_ordinary_one_s_linearisation(num_layers):
    lazy = randomised(model_of("lazy", hidden_size=9, num_hidden_layers=num_layers).double())
    ordinary = model_of("fcn", hidden_size=9, num_hidden_layers=num_layers)
    assert all(
        torch.equal(lazy.state_dict()[name.replace("weight", "initial_weight")].float(), weight)
        for name, weight in ordinary.state_dict().items()  # the same seed draws the same network
    )
    ordinary, ids = ordinary.double(), inputs()

    def output(weights):
        return 3 * torch.func.functional_call(ordinary, weights, (ids,)).logits  # sqrt(9): readouts 1/3 and 1/9

    jacobian = torch.func.jacrev(output)({name: weight.detach() for name, weight in ordinary.named_parameters()})
    expected = sum(torch.tensordot(jacobian[name], move, move.ndim) for name, move in lazy.named_parameters())
    torch.testing.assert_close(lazy(ids).logits, expected, rtol=0, atol=1e-12)


def test_a_lazy_network_s_gradient_is_the_ordinary_one_s_at_the_start():
    lazy, ordinary = (model_of(kind, hidden_size=9).double() for kind in ("lazy", "fcn"))
    weights = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (lazy(inputs()).logits * weights).sum().backward()
    (3 * ordinary(inputs()).logits * weights).sum().backward()
    for one, other in zip(lazy.parameters(), ordinary.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)
        assert other.grad.abs().max() > 0


@pytest.mark.parametrize("kind", CONFIGS)
def test_gradients_reach_all_parameters(kind):
    model = model_of(kind, hidden_size=32)
    ids, labels = inputs(batch=64), inputs(batch=64, length=1, high=3)[:, 0]
    output = model(ids, labels=labels)
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, labels))
    output.loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.abs().sum() > 0
    loss, logits = model(ids, labels=labels, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert torch.equal(loss, output.loss)


@pytest.mark.parametrize("kind", CONFIGS)
def test_autocast(kind):
    model = randomised(model_of(kind, hidden_size=32))
    exact = model(inputs()).logits
    with torch.autocast("cpu", torch.bfloat16):
        found = model(inputs(), labels=torch.zeros(6, dtype=torch.int64))
    assert found.loss.dtype == torch.float32
    torch.testing.assert_close(found.logits.float(), exact, rtol=0.05, atol=0.05 * exact.abs().max().item())


@pytest.mark.parametrize("kind", CONFIGS)
def test_training_lowers_the_loss(kind):
    grammar = Grammar.from_name("v5-m3-s2-L2-c3", rules_seed=1)
    levels = grammar.derivations(48, seed=1)
    ids, labels = torch.from_numpy(levels[0].astype(np.int64)), torch.from_numpy(levels[-1].astype(np.int64)).flatten()
    model = model_of(kind, hidden_size=64, max_position_embeddings=4, num_hidden_layers=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    first = model(ids, labels=labels).loss.item()
    for _ in range(100):
        optimizer.zero_grad()
        loss = model(ids, labels=labels).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * first


def test_defaults_and_special_ids():
    for kind, make in CONFIGS.items():
        config = make()
        assert (config.num_symbols, config.bos_token_id, config.eos_token_id) == (V, V, V), kind
        assert (config.pad_token_id, config.mask_token_id) == (PAD, MASK)
    default = rhm_hf.HierarchicalCNNConfig()
    assert (default.num_symbols, default.filter_size, default.num_positions) == (16, 2, [8, 4, 2, 1])
    assert rhm_hf.HierarchicalCNNConfig(vocab_size=19, num_symbols=10).bos_token_id == 10


def test_mistakes_are_named():
    with pytest.raises(
        ValueError, match=r"max_position_embeddings=12 .*layer 3 would read 3 positions.*filter_size \*\*"
    ):
        HierarchicalCNNConfig(max_position_embeddings=12)
    with pytest.raises(ValueError, match=r"filter_size=0 is out of range"):
        LocallyConnectedConfig(filter_size=0)
    with pytest.raises(ValueError, match=r"num_symbols=17 is out of range"):
        FullyConnectedConfig(num_symbols=17)
    model = model_of("cnn", hidden_size=4)
    with pytest.raises(ValueError, match=r"input_ids has shape \(6, 7\).*length 8.*max_position_embeddings=8"):
        model(inputs(length=7))
    with pytest.raises(ValueError, match=r"input_ids holds 8, out of range: this model has ids 0 to 7"):
        model(torch.full((1, 8), 8))
    with pytest.raises(ValueError, match=r"input_ids holds -1, out of range"):
        model(torch.full((1, 8), -1))
    with pytest.raises(ValueError, match=r"input_ids has dtype torch.float32"):
        model(torch.zeros(1, 8))


@pytest.mark.parametrize(("length", "num_layers", "positions"), [(9, 2, [10, 4, 1]), (27, 3, [30, 14, 6, 2])])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", ["cnn", "lcn"])
def test_overlapping_filters_are_those_of_a_convolution(kind, flat, length, num_layers, positions):
    """Filter 4, stride 2: trees of varying shape, padded to 10 and 30 positions (arXiv 2602.06065)."""
    sizes = {"filter_size": 4, "stride": 2, "flat_readout": flat, "max_position_embeddings": length}
    model = model_of(kind, num_hidden_layers=num_layers, hidden_size=7, **sizes).double()
    assert model.config.num_positions == positions
    ids = inputs(length=length, high=V + 3)
    found = model(ids, output_hidden_states=True)
    x = np.zeros((len(ids), positions[0], V))
    x[:, :length] = one_hot(ids)
    for layer, state, count in zip(model.layers, found.hidden_states[1:], positions[1:], strict=True):
        filters = layer.weight.detach().numpy()
        above = np.zeros((len(x), count, 7))
        for position in range(count):
            filter = filters[position if kind == "lcn" else 0].reshape(7, 4, x.shape[2])
            for offset in range(4):
                above[:, position] += x[:, 2 * position + offset] @ filter[:, offset].T
        x = np.maximum(above / np.sqrt(4 * x.shape[2]), 0)
        np.testing.assert_allclose(state.detach().numpy(), x, rtol=0, atol=1e-12)
    readout = model.classifier.weight.detach().numpy()[0]
    left = x.reshape(len(x), -1) / positions[-1] if flat else x.mean(1)
    np.testing.assert_allclose(found.logits.detach().numpy(), left @ readout.T / 7, rtol=0, atol=1e-12)
    again = type(model.config).from_dict(model.config.to_dict())
    assert (again.strides, again.flat_readout, again.num_positions) == ([2] * num_layers, flat, positions)


def test_a_stride_beyond_the_filter_is_refused():
    with pytest.raises(ValueError, match="stride=3"):
        HierarchicalCNNConfig(filter_size=2, stride=3)
