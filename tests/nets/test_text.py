"""Encoder and decoders of text: against naive loops, torch's own layers, and themselves without a cache."""

import math

import pytest
import torch
from torch import nn

from lightning_gvae.errors import ConfigError
from lightning_gvae.nets.text.build import LSTMEncoder, drop_words, dropout, hidden_words, lengths_of
from lightning_gvae.nets.text.lstm import LSTMDecoder
from lightning_gvae.nets.text.transformer import TransformerBlock, TransformerDecoder
from lightning_gvae.rng import torch_stream
from lightning_gvae.text import BOS, PAD, UNK

V, Z = 11, 3
DECODERS = {
    "lstm": lambda z=Z, **kw: LSTMDecoder(V, z, 6, 8, **kw),
    "lstm_2_layers": lambda z=Z, **kw: LSTMDecoder(V, z, 6, 8, layers=2, **kw),
    "transformer": lambda z=Z, **kw: TransformerDecoder(V, z, 8, 2, 2, 16, **kw),
}
NAMES = pytest.mark.parametrize("name", DECODERS)
SENTENCES = torch.tensor([[5, 7, 4, 9, 3], [6, 3, 0, 0, 0], [3, 0, 0, 0, 0]])


def build(name, **kwargs):
    torch.manual_seed(0)
    decoder = DECODERS[name](**kwargs)
    nn.init.normal_(decoder.embedding.weight)  # larger than in training: differences show
    nn.init.normal_(decoder.bias)
    return decoder


def latents(n=3, z=Z):
    return torch.randn(n, z, generator=torch_stream(0, "z"))


@NAMES
@pytest.mark.parametrize("z", [Z, 0])
def test_likelihood_equals_a_loop_over_sentences_and_words(name, z):
    decoder, codes = build(name, z=z), latents(z=z)
    found = decoder(codes, SENTENCES)
    for row, (code, sentence) in enumerate(zip(codes, SENTENCES, strict=True)):
        words = [int(word) for word in sentence if word != PAD]
        nats = 0.0
        for position, word in enumerate(words):
            read = torch.tensor([[BOS, *words[:position]]])
            logits = decoder.logits(decoder.features(code[None], read))[0, -1]
            nats -= float(torch.log_softmax(logits.detach().double(), 0)[word])
        assert found[row].item() == pytest.approx(nats, rel=1e-5)


@NAMES
def test_padding_and_the_company_of_longer_sentences_change_nothing(name):
    decoder, codes = build(name), latents()
    alone = [decoder(codes[row : row + 1], SENTENCES[row : row + 1, : int(n)]) for row, n in enumerate((5, 2, 1))]
    torch.testing.assert_close(decoder(codes, SENTENCES), torch.cat(alone))
    wider = torch.cat([SENTENCES, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(decoder(codes, wider), torch.cat(alone))
    torch.manual_seed(0)
    encoder = LSTMEncoder(V, Z, 6, 8, 0.0)
    torch.testing.assert_close(encoder(wider), encoder(SENTENCES))
    torch.testing.assert_close(encoder(SENTENCES)[1:2], encoder(SENTENCES[1:2, :2]))


@NAMES
def test_generation_with_a_cache_computes_what_the_whole_sentence_does(name):
    decoder, codes = build(name), latents()
    words = torch.randint(4, V, (3, 12), generator=torch_stream(0, "w"))
    inputs = torch.cat([torch.full((3, 1), BOS), words], 1)
    whole = decoder.logits(decoder.features(codes, inputs))
    state = decoder.start(codes)
    for step in range(inputs.shape[1]):
        logits, state = decoder.step(inputs[:, step], state)
        torch.testing.assert_close(logits, whole[:, step], rtol=1e-4, atol=1e-4)


@NAMES
def test_selected_rows_of_a_state_go_on_as_the_sentences_they_belong_to(name):
    decoder, codes = build(name), latents()
    state = decoder.step(torch.tensor([5, 6, 7]), decoder.start(codes))[1]
    rows, words = torch.tensor([2, 0, 0]), torch.tensor([8, 9, 4])
    found = decoder.step(words, decoder.select(state, rows))[0]
    for index, (row, word) in enumerate(zip(rows, words, strict=True)):
        single = decoder.step(torch.tensor([5 + int(row)]), decoder.start(codes[row : row + 1]))[1]
        torch.testing.assert_close(found[index : index + 1], decoder.step(word[None], single)[0])


@NAMES
def test_the_latents_reach_every_word_and_the_future_none(name):
    decoder, codes = build(name), latents(1).requires_grad_()
    inputs = torch.tensor([[BOS, 5, 6, 7]])
    features = decoder.features(codes, inputs)
    for step in range(4):
        (slope,) = torch.autograd.grad(
            features[0, step].square().sum() + features[0, step, 0], codes, retain_graph=True
        )
        assert slope.abs().min() > 0
    changed = inputs.clone()
    changed[0, 3] = 9
    torch.testing.assert_close(decoder.features(codes, changed)[:, :3], features[:, :3])


@NAMES
@pytest.mark.parametrize("z", [Z, 0])
def test_every_parameter_gets_a_gradient(name, z):
    decoder = build(name, z=z, dropout=0.2, word_dropout=0.2)
    decoder(latents(z=z), SENTENCES, decoder.noise(SENTENCES, torch_stream(0, "n"))).sum().backward()
    for label, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, label


def test_a_block_is_torchs_decoder_layer_with_a_memory_of_one_entry():
    torch.manual_seed(0)
    block, width = TransformerBlock(8, 2, 16, Z), 8
    torchs = nn.TransformerDecoderLayer(width, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
    memory = nn.Linear(Z, width)
    with torch.no_grad():
        torchs.self_attn.in_proj_weight.copy_(block.qkv.weight)
        torchs.self_attn.in_proj_bias.copy_(block.qkv.bias)
        torchs.self_attn.out_proj.load_state_dict(block.out.state_dict())
        torchs.norm1.load_state_dict(block.norm_attention.state_dict())
        torchs.norm3.load_state_dict(block.norm_feedforward.state_dict())
        torchs.linear1.load_state_dict(block.up.state_dict())
        torchs.linear2.load_state_dict(block.down.state_dict())
        # The map of the latents in three steps: memory, values, output. Queries and keys do not matter.
        values, out = torchs.multihead_attn.in_proj_weight[2 * width :], torchs.multihead_attn.out_proj
        block.latents.weight.copy_(out.weight @ values @ memory.weight)
        value_bias = torchs.multihead_attn.in_proj_bias[2 * width :]
        block.latents.bias.copy_(out.weight @ (values @ memory.bias + value_bias) + out.bias)
    x, z = torch.randn(4, 6, width), torch.randn(4, Z)
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    expected = torchs(x, memory(z)[:, None], tgt_mask=mask, tgt_is_causal=True)
    torch.testing.assert_close(block(x, z, None, iter(()))[0], expected, rtol=1e-4, atol=1e-5)


def test_the_encoders_state_is_torchs_state_of_packed_sentences():
    torch.manual_seed(0)
    encoder = LSTMEncoder(V, Z, 6, 8, 0.0)
    lengths = lengths_of(SENTENCES)
    assert lengths.tolist() == [5, 2, 1]
    packed = nn.utils.rnn.pack_padded_sequence(encoder.embedding(SENTENCES), lengths, batch_first=True)
    _, (hidden, _) = encoder.lstm(packed)
    torch.testing.assert_close(encoder(SENTENCES), encoder.head(hidden[0]))


def test_positions_are_those_of_the_paper():
    decoder = build("transformer", z=0)
    with torch.no_grad():
        decoder.embedding.weight.zero_()
    seen = []
    decoder.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    decoder.features(latents(1, 0), torch.full((1, 5), 4))
    for position in range(5):
        for pair in range(4):
            angle = position / 10_000 ** (2 * pair / 8)
            assert seen[0][0, position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert seen[0][0, position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_dropout_keeps_the_mean_and_draws_from_its_stream_alone():
    state = torch.get_rng_state()
    values = torch.ones(200_000)
    found = dropout(values, 0.3, torch_stream(1, "d"))
    assert sorted(found.unique().tolist()) == pytest.approx([0, 1 / 0.7])
    assert found.mean().item() == pytest.approx(1, abs=5 * math.sqrt(0.3 / 0.7 / 200_000))
    assert torch.equal(found, dropout(values, 0.3, torch_stream(1, "d")))
    assert dropout(values, 0.3, None) is values and dropout(values, 0.0, torch_stream(1, "d")) is values
    assert torch.equal(torch.get_rng_state(), state)


def test_word_dropout_hides_words_but_neither_beginning_nor_padding():
    inputs = torch.cat([torch.full((1000, 1), BOS), torch.full((1000, 20), 7), torch.zeros(1000, 3).long()], 1)
    found = drop_words(inputs, hidden_words(inputs, 0.4, torch_stream(0, "w")))
    assert (found[:, 0] == BOS).all() and (found[:, 21:] == PAD).all()
    words = found[:, 1:21]
    assert set(words.unique().tolist()) == {7, UNK}
    assert (words == UNK).float().mean().item() == pytest.approx(0.4, abs=5 * math.sqrt(0.24 / 20_000))
    assert drop_words(inputs, hidden_words(inputs, 0.4, None)) is inputs


@pytest.mark.parametrize("width", [7, 9])
def test_a_width_that_the_heads_cannot_share_is_refused(width):
    with pytest.raises(ConfigError, match=f"`embedding` must be even and divisible by `heads` 3, got {width}"):
        TransformerDecoder(V, Z, width, heads=3)
