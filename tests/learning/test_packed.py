"""Sequences in one row without padding against the plain forward pass of transformers, one sequence at a time."""

import random

import pytest
import torch
import transformers

from roles import packed, trunk
from roles.sequences import TokenSequence
from tests.learning.learners import VOCABULARY, causal
from tests.learning.padded import pad, token_log_probs

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip
MODELS = {
    "Llama": {}, "Qwen2": {}, "Qwen3": {"head_dim": 8}, "Phi3": {}, "Olmo2": {}, "Gemma": {"head_dim": 8},
    "Mistral": {"sliding_window": 5},
    "Qwen2 with a window": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "GPTNeoX": {}, "Starcoder2": {},
    "Gemma3Text": {"head_dim": 8, "sliding_window": 5, "sliding_window_pattern": 2},
}  # fmt: skip


def model(name: str) -> transformers.PreTrainedModel:
    """A random one; `name` is that of its configuration, and words that tell it from others."""
    kind = name.split()[0]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **MODELS.get(name, {}))
    found = getattr(transformers, f"{kind.removesuffix('Text')}ForCausalLM")
    return found(config).eval()


def sequences(seed: int = 0, prompts: int = 6) -> list[TokenSequence]:
    """Of very different lengths; some share a prompt, one of them the very sequence."""
    rng = random.Random(seed)
    tokens = lambda most: tuple(rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(1, most)))  # noqa: E731
    found = [TokenSequence(shared, tokens(40)) for shared in (tokens(30) for _ in range(prompts)) for _ in range(3)]
    return [*found, found[4]]


def states_alone(model: transformers.PreTrainedModel, sequence: TokenSequence) -> torch.Tensor:
    ids = torch.tensor([sequence.prompt + sequence.completion])
    return model.base_model(input_ids=ids).last_hidden_state[0]


@pytest.mark.parametrize("name", MODELS)
def test_each_token_has_the_state_that_it_has_alone(name, monkeypatch):
    monkeypatch.setattr(packed, "_SMALL_AREA", 0)  # so that few sequences make many rectangles
    net = model(name)
    given = sequences()
    alone = [states_alone(net, sequence) for sequence in given]
    with torch.no_grad():
        found = trunk.forward(net.base_model, given)
    before = torch.cat([
        states[len(sequence.prompt) - 1 : -1] for states, sequence in zip(alone, given, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(found.states, before, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found.last, torch.stack([states[-1] for states in alone]), atol=2e-5, rtol=1e-4)


def test_log_probabilities_and_gradients_are_those_of_padded_batches():
    given, found = sequences(), []
    for net in (causal(), causal()):
        if not found:
            completions = trunk.forward(net.base_model, given)
            log_probs = completions.log_probs(net.get_output_embeddings(), 0.7)[completions.mask]
        else:
            batch = pad(given, 0)
            logits = net(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
            log_probs = token_log_probs(logits, batch.input_ids, 0.7)[batch.completion_mask]
        log_probs.square().mean().backward()
        found.append((log_probs, {name: parameter.grad for name, parameter in net.named_parameters()}))
    (packed_values, packed_gradients), (padded_values, padded_gradients) = found
    torch.testing.assert_close(packed_values, padded_values, atol=1e-5, rtol=1e-5)
    for name in padded_gradients:
        torch.testing.assert_close(packed_gradients[name], padded_gradients[name], atol=1e-6, rtol=1e-4)


def test_a_model_that_was_packed_still_serves_padded_batches():
    net, given = causal(), sequences()
    batch = pad(given, 0)
    before = net(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.attention_mask]
    trunk.forward(net.base_model, given)
    after = net(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.attention_mask]
    torch.testing.assert_close(after, before)


def test_a_saved_model_does_not_remember_how_it_was_trained(tmp_path):
    net = causal()
    trunk.forward(net.base_model, sequences())
    net.save_pretrained(tmp_path)
    assert "packed" not in (tmp_path / "config.json").read_text()


def test_no_token_is_padding_but_in_attention():
    given = sequences()
    row = packed.pack(given, torch.device("cpu"))
    prompts = {sequence.prompt for sequence in given}
    assert row.ids.numel() == sum(map(len, prompts)) + sum(len(sequence.completion) for sequence in given)


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(ValueError, match="without a token"):
        packed.pack([TokenSequence((), (5,))], torch.device("cpu"))
    with pytest.raises(ValueError, match="without a token"):
        packed.pack([TokenSequence((5,), ())], torch.device("cpu"))
    with pytest.raises(ValueError, match="softcap"):
        trunk.forward(model("Gemma2").base_model, sequences())
