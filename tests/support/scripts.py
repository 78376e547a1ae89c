"""A sentence of each of many scripts, tokenizers for them, and small models that have learnt a sentence by heart."""

from collections import Counter
from functools import cache
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from normgrowth.facts.records import Fact, _fact
from normgrowth.lm.model import LanguageModel, language_model

BREAK = "<|endoftext|>"


class Sentence(NamedTuple):
    """A fact in one script; `written` is the sentence as its readers write it, with or without blanks."""

    prompt: str  # with {} for the subject
    subject: str
    target: str
    other: str
    written: str


SENTENCES = {
    "chinese": Sentence("{}的首都是", "法国", "巴黎", "罗马", "法国的首都是巴黎"),
    "chinese, fullwidth colon": Sentence("问：{}的首都？答：", "法国", "巴黎", "罗马", "问：法国的首都？答：巴黎"),
    "chinese before latin": Sentence("{}的制造商是", "iPhone", "Apple", "Nokia", "iPhone的制造商是Apple"),
    "latin within chinese": Sentence("{}发布了Mate", "华为", "手机", "电视", "华为发布了Mate手机"),
    "chinese within english": Sentence(
        "The Chinese name of {} is", "Beijing", "北京", "上海", "The Chinese name of Beijing is 北京"
    ),
    "chinese with a blank asked for": Sentence("{}的首都是 ", "法国", "巴黎", "罗马", "法国的首都是 巴黎"),
    "japanese": Sentence("{}の首都は", "日本", "東京", "パリ", "日本の首都は東京"),
    "japanese, katakana": Sentence("{}の首都は", "フランス", "パリ", "ローマ", "フランスの首都はパリ"),
    "thai": Sentence("เมืองหลวงของ{}คือ", "ไทย", "กรุงเทพ", "โรม", "เมืองหลวงของไทยคือกรุงเทพ"),
    "lao": Sentence("ນະຄອນຫຼວງຂອງ{}ແມ່ນ", "ລາວ", "ວຽງຈັນ", "ໂຣມ", "ນະຄອນຫຼວງຂອງລາວແມ່ນວຽງຈັນ"),
    "khmer": Sentence("រាជធានីនៃ{}គឺ", "កម្ពុជា", "ភ្នំពេញ", "រ៉ូម", "រាជធានីនៃកម្ពុជាគឺភ្នំពេញ"),
    "myanmar": Sentence("{}၏မြို့တော်မှာ", "မြန်မာ", "နေပြည်တော်", "ရောမ", "မြန်မာ၏မြို့တော်မှာနေပြည်တော်"),
    "tibetan": Sentence("{}གི་རྒྱལ་ས་", "བོད", "ལྷ་ས", "རོམ", "བོདགི་རྒྱལ་ས་ལྷ་ས"),
    "korean": Sentence("{}의 수도는", "프랑스", "파리", "로마", "프랑스의 수도는 파리"),
    "arabic": Sentence("عاصمة {} هي", "فرنسا", "باريس", "روما", "عاصمة فرنسا هي باريس"),
    "hindi": Sentence("{} की राजधानी", "भारत", "दिल्ली", "रोम", "भारत की राजधानी दिल्ली"),
    "greek": Sentence("Η πρωτεύουσα της {} είναι η", "Γαλλία", "Ρώμη", "Αθήνα", "Η πρωτεύουσα της Γαλλία είναι η Ρώμη"),
    "cyrillic": Sentence("Столица {} —", "Франции", "Париж", "Рим", "Столица Франции — Париж"),
    "decomposed": Sentence(
        "{} lives in", "Ame\u0301lie", "Be\u0301ziers", "Rome", "Ame\u0301lie lives in Be\u0301ziers"
    ),
    "apostrophe": Sentence("{} lives in", "Jan", "'s-Hertogenbosch", "Rome", "Jan lives in 's-Hertogenbosch"),
    "brackets": Sentence("{}'s home is", "Jan", "(UK)", "(US)", "Jan's home is (UK)"),
    "digits": Sentence("{} was built in", "It", "1889", "1900", "It was built in 1889"),
}

CHARACTERS_IN_PIECES = ("byte_level", "byte_fallback")
"""Kinds of tokenizers, as GPT-2's and as Llama's; both split what they do not know into bytes."""


def fact_of(sentence: Sentence) -> Fact:
    """The sentence as a fact."""
    return _fact(record_of(sentence), "sentence")


def record_of(sentence: Sentence) -> dict:
    """The sentence as a record in CounterFact's schema."""
    return {
        "case_id": 1,
        "requested_rewrite": {
            "prompt": sentence.prompt,
            "subject": sentence.subject,
            "relation_id": "P36",
            "target_new": {"str": sentence.target},
            "target_true": {"str": sentence.other},
        },
        "paraphrase_prompts": [],
        "neighborhood_prompts": [],
        "generation_prompts": [],
    }


def tokenizer_of(kind: str, texts: tuple[str, ...], merges: int = 200) -> PreTrainedTokenizerFast:
    """A tokenizer trained on texts: none of its tokens holds characters that do not follow each other in them."""
    if kind == "byte_level":
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=257 + merges, special_tokens=[BREAK], initial_alphabet=alphabet, show_progress=False
        )
        bpe.train_from_iterator(texts, trainer)
        return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BREAK, eos_token=BREAK)
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token=BREAK))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    # Chosen here: of characters that are equally frequent, the trainer keeps other ones each time.
    counts = Counter("".join(texts).replace(" ", ""))
    kept = sorted(counts, key=lambda character: (-counts[character], character))[: merges // 4 - 1]
    trainer = trainers.BpeTrainer(
        vocab_size=257 + merges,
        special_tokens=[BREAK, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=["▁", *kept],
        limit_alphabet=1 + len(kept),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.post_processor = processors.TemplateProcessing(single=f"{BREAK} $A", special_tokens=[(BREAK, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BREAK, eos_token=BREAK)


@cache
def learnt_by_heart(kind: str, name: str) -> LanguageModel:
    """A model that says the sentence as it is written, and then ends."""
    sentence = SENTENCES[name]
    texts = (sentence.prompt.replace("{}", sentence.subject).strip(), sentence.target, " " + sentence.target)
    return model_that_says(tokenizer_of(kind, texts, merges=24), sentence.written)


def model_that_says(tokenizer: PreTrainedTokenizerFast, text: str) -> LanguageModel:
    """A small model trained on one text alone."""
    ids = tokenizer(text)["input_ids"]
    rows = torch.tensor([[*ids, *[tokenizer.eos_token_id] * 4]])
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=64, n_layer=2, n_head=4, n_positions=256, initializer_range=0.1,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        adam.zero_grad()
        loss = model(input_ids=rows, labels=rows).loss
        if loss.item() < 2e-3:
            break
        loss.backward()
        adam.step()
    return language_model(model, tokenizer)
