import pytest
import torch

from llmrec.nn.linear import Precision, pack

KINDS = pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])


def a_layer(kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(9, 40).to(kind), torch.randn(24, 40) / 6, torch.randn(24)


@KINDS
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_int8_is_near_the_product_it_stands_for(kind: torch.dtype, activation: str | None) -> None:
    x, weight, bias = a_layer(kind)
    expected = x.float() @ weight.T + bias
    expected = torch.nn.functional.gelu(expected) if activation else expected
    found = pack(weight, bias, Precision.INT8, activation)(x)
    assert found.dtype is kind
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.02)


@KINDS
def test_int8_leaves_its_inputs_as_they_are(kind: torch.dtype) -> None:
    x, weight, bias = a_layer(kind)
    before = x.clone()
    pack(weight, bias, Precision.INT8)(x)
    assert torch.equal(x, before)


@KINDS
def test_in_int8_a_row_gives_the_same_whatever_is_beside_it(kind: torch.dtype) -> None:
    x, weight, bias = a_layer(kind)
    layer = pack(weight, bias, Precision.INT8)
    assert torch.equal(torch.cat([layer(row[None]) for row in x]), layer(x))


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_a_row_of_a_wide_layer_gives_the_same_whatever_is_beside_it(precision: Precision) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # as in a task of one core
    layer = pack(torch.randn(384, 1536) / 40, torch.randn(384), precision)
    x = torch.randn(2000, 1536).to(precision.states)
    whole = layer(x)
    for rows in (4, 40, 200, 378, 384, 700):
        assert torch.equal(layer(x[:rows]), whole[:rows]), rows
