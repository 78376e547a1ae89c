"""Every family of models in miniature: parts found, hooks true to the model, edits that land and can be undone."""

from contextlib import contextmanager

import pytest
import torch
import transformers
from safetensors import safe_open

from benchmarks import plain
from normgrowth.editors.base import Resources
from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.prefix import freeze
from normgrowth.editors.locate.search_rows import lay_out, prompts_of
from normgrowth.editors.moments import gather_second_moments
from normgrowth.editors.registry import declaration
from normgrowth.errors import ModelError
from normgrowth.lm.anatomy import frobenius
from normgrowth.lm.generate import go_on
from normgrowth.lm.hooks import SITES, changing, reading
from normgrowth.lm.model import language_model
from normgrowth.measure.scores import score_single_edits
from normgrowth.sources.loading import load_model
from tests.support import small_models
from tests.support.architectures import (
    ARCHITECTURES,
    INNER,
    N_LAYERS,
    OWN_NAMES,
    WIDTH,
    Architecture,
    language_model_of,
)

CONTEXTS = small_models.CONTEXTS["uniform"]
FACTS = small_models.facts()[:3]
TEXTS = [small_models.SENTENCES[0], "Oslo.", small_models.SENTENCES[9][:30]]


@pytest.fixture(params=sorted(ARCHITECTURES))
def name(request):
    return request.param


@pytest.fixture
def architecture(name) -> Architecture:
    return ARCHITECTURES[name]


@pytest.fixture
def lm(name):
    return language_model_of(name)


def batch(lm):
    return lm.pad([tuple(lm.tokenizer(text)["input_ids"]) for text in TEXTS])


def editor_of(kind, lm, layers):
    """An editor with nothing beside the target in its search, and one context: then what it writes is met exactly."""
    settings = {"layers": layers, "steps": 20, "kl_factor": 0.0, "weight_decay": 0.0}
    if kind == "memit":
        settings |= {"batch": len(FACTS), "preservation_weight": 0.01}
    declared = declaration(kind)
    editor = declared.build(declared.Settings(**settings))
    ids = torch.randint(1, len(lm.tokenizer), (64, 24), generator=torch.Generator().manual_seed(3))
    moments = gather_second_moments(lm, [ids], layers)
    contexts = {"uniform": ["{}"], "grouped": ["{}"]}
    editor.prepare(lm, Resources(contexts, moments, facts=tuple(FACTS), seed=5))
    return editor, editor.begin(lm)


def loss_of_facts(lm):
    return sum(plain.loss_of(lm, fact.question, fact.target_new)[0] for fact in FACTS)


@contextmanager
def inputs_of(module):
    """What a module reads, in the order of its passes, by its own hook."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    yield seen
    handle.remove()


def test_the_parts_are_those_written_down(lm, architecture):
    for layer, (down, output) in enumerate(zip(lm.anatomy.down_projections, lm.anatomy.attention_outputs, strict=True)):
        assert down.name == f"{architecture.blocks}.{layer}.{architecture.down_projection}.weight"
        assert output.name == f"{architecture.blocks}.{layer}.{architecture.attention_output}.weight"
        for projection in (down, output):
            assert isinstance(projection.module, architecture.storage)
            assert lm.model.get_parameter(projection.name) is projection.weight
        assert down.matrix.shape == (WIDTH, INNER)
        assert output.matrix.shape[0] == WIDTH
    assert lm.anatomy.hidden_size == WIDTH


@torch.no_grad()
def test_hooks_agree_with_hidden_states(lm, architecture):
    ids, mask = batch(lm)
    anatomy = lm.anatomy
    places = [(layer, site) for layer in range(N_LAYERS) for site in SITES]
    final_norm = lm.model.get_submodule(architecture.final_norm)
    with reading(anatomy, places) as seen, inputs_of(final_norm) as before_norm:
        states = lm.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    assert len(states) == N_LAYERS + 1
    for layer in range(N_LAYERS):
        residual = seen[layer, "residual"]
        if layer < N_LAYERS - 1:
            assert torch.equal(residual, states[layer + 1])
        else:  # the last hidden state stands behind the final norm
            assert torch.equal(residual, before_norm[0])
            assert torch.equal(final_norm(residual), states[-1])
        assert torch.equal(anatomy.down_projections[layer].module(seen[layer, "mlp_key"]), seen[layer, "mlp_output"])
        written = states[layer]
        for site in ("attention_output", "mlp_output"):
            norm = architecture.written.get(site)
            given = seen[layer, site]
            written = written + (given if norm is None else anatomy.blocks[layer].get_submodule(norm)(given))
        assert torch.allclose(written, residual, atol=1e-5)


@torch.no_grad()
def test_trunk_and_head_give_the_models_logits(lm):
    ids, mask = batch(lm)
    expected = lm.model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(lm.logits(lm.hidden(ids, mask)), expected)


@torch.no_grad()
@pytest.mark.parametrize("site", SITES)
def test_adding_zero_changes_no_logit(lm, site):
    ids, mask = batch(lm)
    plain_logits = lm.logits(lm.hidden(ids, mask))
    with changing(lm.anatomy, (1, site), lambda x: x + torch.zeros_like(x)):
        assert torch.equal(lm.logits(lm.hidden(ids, mask)), plain_logits)
    with changing(lm.anatomy, (1, site), lambda x: 2 * x.flip(-1) + 1):
        assert not torch.allclose(lm.logits(lm.hidden(ids, mask)), plain_logits, atol=1e-3)


@torch.no_grad()
def test_padding_and_positions_change_nothing(lm):
    """Each row alone against all in one padded batch, positions counted by the model and given."""
    ids, mask = batch(lm)
    together = lm.hidden(ids, mask)
    placed = lm.hidden(ids, mask, positions=(mask.cumsum(dim=1) - 1).clamp(min=0))
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        alone = lm.hidden(ids[row : row + 1, :length], mask[row : row + 1, :length])[0]
        assert torch.allclose(together[row, :length], alone, atol=1e-4)
        assert torch.allclose(placed[row, :length], alone, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("first", range(N_LAYERS + 1))
def test_a_frozen_prefix_gives_what_the_whole_pass_gives(lm, first):
    rows = lay_out(lm, [prompts_of(lm, fact, CONTEXTS) for fact in small_models.facts()])
    frozen, whole = freeze(lm, rows, first, [])[0], lm.hidden(rows.ids, rows.mask)
    hidden = frozen.hidden(lm)
    lengths = rows.mask.sum(dim=1).tolist()
    for row, (start, length) in enumerate(zip(rows.subject_last.tolist(), lengths, strict=True)):
        assert torch.allclose(hidden[row, : length - start], whole[row, start:length], atol=1e-4)


def test_single_edits_leave_no_trace(lm):
    editor, memory = editor_of("r_rome", lm, [1])
    before = {name: parameter.clone() for name, parameter in lm.model.named_parameters()}
    scores = score_single_edits(lm, editor, memory, FACTS[:2])
    assert (scores["delta_frobenius"] > 0).all()
    assert all(torch.equal(parameter, before[name]) for name, parameter in lm.model.named_parameters())


def test_r_rome_sends_the_key_to_the_target(lm):
    """W k + b is the target after the edit, and the new objects gain."""
    editor, memory = editor_of("r_rome", lm, [1])
    projection = lm.anatomy.down_projections[1]
    bias = getattr(projection.module, "bias", None)
    unedited = projection.weight.clone()
    before, after = loss_of_facts(lm), 0.0
    for fact in FACTS:
        key = at_subject(lm, [fact], ["{}"], [(1, "mlp_key")])[1, "mlp_key"][0, 0]
        wanted = editor.search(lm, memory, [fact]).values[0]
        trace = editor.edit(lm, memory, [fact])
        assert trace.records[0].search_steps > 0
        value = projection.matrix @ key + (0 if bias is None else bias)
        assert torch.allclose(value, wanted, atol=1e-3 * wanted.norm().item())
        after += plain.loss_of(lm, fact.question, fact.target_new)[0]
        projection.weight.copy_(unedited)
    assert after < before


def test_memit_brings_the_values_to_their_targets(lm):
    """The residual stream ends where the search wanted it, behind a norm of the MLP's output too."""
    editor, memory = editor_of("memit", lm, [0, 1])
    wanted = editor.search(lm, memory, FACTS).values

    def distance():
        return (wanted - at_subject(lm, FACTS, ["{}"], [editor.top])[editor.top][:, 0]).norm().item()

    far, before = distance(), loss_of_facts(lm)
    trace = editor.edit(lm, memory, FACTS)
    assert sorted(trace.changes) == [0, 1]
    assert distance() < 0.1 * far
    assert loss_of_facts(lm) < before


def test_norms_equal_those_read_from_the_file(lm, tmp_path):
    """By the names that projections carry, whatever the file calls the rest; and the loaded model is the same."""
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as stored:
        for projection in loaded.anatomy.down_projections:
            norm = stored.get_tensor(projection.name).double().norm().item()
            assert frobenius(projection.matrix) == pytest.approx(norm, rel=1e-12)
    ids, mask = batch(lm)
    with torch.no_grad():
        assert torch.equal(loaded.logits(loaded.hidden(ids, mask)), lm.logits(lm.hidden(ids, mask)))


@torch.no_grad()
def test_going_on_from_padded_prompts_equals_plain_greedy_decoding(lm):
    """Prompts shorter and longer than a sliding window, in one batch with a cache, against whole passes one by one."""
    prompts = [tuple(lm.tokenizer(text)["input_ids"]) for text in TEXTS]
    length = 8
    followed = go_on(lm, prompts, length)
    for prompt, given in zip(prompts, followed, strict=True):
        ids = list(prompt)
        for token in given:
            logits = lm.model(input_ids=torch.tensor([ids])).logits[0, -1]
            top = logits.max()
            # A near tie may fall either way by rounding.
            assert logits[token] >= top - 1e-4
            ids.append(token)


REFUSED = {
    "Bert": ("BertForMaskedLM", {}, r"BertForMaskedLM: .* no causal attention was found"),
    "Cohere": ("CohereForCausalLM", {"logit_scale": 0.25}, r"CohereForCausalLM: between the final norm and the logits"),
    "Mamba": ("MambaForCausalLM", {}, r"block 0 has no MLP down-projection"),
    "Mixtral": ("MixtralForCausalLM", {"num_local_experts": 2}, r"block 0 holds mlp\.experts\.\w+, which is no matrix"),
    "OPT": ("OPTForCausalLM", {"word_embed_proj_dim": 16, "ffn_dim": INNER}, r"no MLP down-projection of output width"),
    "Qwen2Moe": ("Qwen2MoeForCausalLM", {"num_experts": 4, "moe_intermediate_size": 16}, r"a mixture of experts"),
    "T5": (
        "T5ForConditionalGeneration",
        {"d_model": WIDTH, "d_ff": INNER},
        r"block 0 has no child that takes an",
    ),
}
"""By family: class, settings beside the usual ones, and what the refusal says."""


@pytest.mark.parametrize("family", sorted(REFUSED))
def test_what_does_not_fit_is_refused_by_the_part_that_is_missing(family):
    kind, settings, message = REFUSED[family]
    tokenizer = small_models.tokenizer("gpt2")
    settings = OWN_NAMES | {"vocab_size": len(tokenizer)} | settings
    model = getattr(transformers, kind)(getattr(transformers, f"{family}Config")(**settings))
    with pytest.raises(ModelError, match=message):
        language_model(model, tokenizer)
