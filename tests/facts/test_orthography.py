"""Where blanks stand, where words end and which texts are the same, in many scripts."""

import pytest

from normgrowth.facts.orthography import (
    begins_with,
    caseless_key,
    ends_of,
    is_blank,
    joined,
    stripped,
    word_spans,
    words,
)
from normgrowth.lm.tokens import fill


@pytest.mark.parametrize(
    ("prompt", "target", "text"),
    [
        ("Tirel was born in", "Lisbon", "Tirel was born in Lisbon"),
        ("The boys'", "'s-Hertogenbosch", "The boys' 's-Hertogenbosch"),
        ("She moved to the", "(UK)", "She moved to the (UK)"),
        ("It was built in", "1889", "It was built in 1889"),
        ("서울의 漢字는", "漢城", "서울의 漢字는 漢城"),
        ("The Chinese name of Beijing is", "北京", "The Chinese name of Beijing is 北京"),
        ("Tokyo (東京)", "Japan", "Tokyo (東京) Japan"),
        ("Who wrote 红楼梦? A:", "Cao Xueqin", "Who wrote 红楼梦? A: Cao Xueqin"),
        ("法国的首都是", "巴黎", "法国的首都是巴黎"),
        ("iPhone的制造商是", "Apple", "iPhone的制造商是Apple"),
        ("华为发布了Mate", "手机", "华为发布了Mate手机"),
        ("华为发布了Mate", "Pro", "华为发布了Mate Pro"),
        ("华为发布了 Mate", "手机", "华为发布了 Mate 手机"),
        ("首都是:", "巴黎", "首都是:巴黎"),
        ("首都是：", "Paris", "首都是：Paris"),
        ("作品は「", "羅生門", "作品は「羅生門"),
        ("スター", "ラーメン", "スターラーメン"),
        ("เมืองหลวงคือ", "กรุงเทพ", "เมืองหลวงคือกรุงเทพ"),
        ("ราชธานีคือ\u200b", "กรุงเทพ", "ราชธานีคือกรุงเทพ"),
        # What is written counts, and counts once.
        ("in ", "Paris", "in Paris"),
        ("in  ", " Paris", "in Paris"),
        ("in\u00a0", "Paris", "in Paris"),
        ("in\t", "Paris", "in Paris"),
        ("首都是 ", "巴黎", "首都是 巴黎"),
        ("首都是", " 巴黎", "首都是 巴黎"),
        ("首都是\u3000", "巴黎", "首都是\u3000巴黎"),
        ("Q: where?\nA:\n", "Paris", "Q: where?\nA:\nParis"),
    ],
)
def test_prompts_and_objects_are_joined_as_they_are_written(prompt, target, text):
    assert joined(prompt, target) == text


@pytest.mark.parametrize(
    ("text", "wanted", "expected"),
    [
        (" Oslo's fjord", "Oslo", True),
        (" 3.5", "3", True),
        (" 35", "3", False),
        (" Newyorker", "New York", False),
        (" New Yorker", "New York", False),
        (" New York.", "New York", True),
        ("巴黎是", "巴黎", True),
        (" 巴黎", "巴黎", True),
        ("，巴黎", "巴黎", False),
        ("Apple公司", "Apple", True),
        ("Applet公司", "Apple", False),
        ("東京タワー", "東京", True),
        ("パリジャン", "パリ", False),  # Unicode: a run of katakana is a word
        ("パリです", "パリ", True),
        ("きゃ", "き", False),
        ("กรุงเทพมหานคร", "กรุงเทพ", True),
        ("กรุงเทพ", "กรุง", True),
        *((text, "ก", False) for text in ("กา", "กำ", "ก่", "กิ")),
        ("กเ", "ก", True),
        ("ភ្នំពេញ", "ភ្នំ", True),
        ("ភ្នំ", "ភ", False),
        ("ວຽງຈັນ", "ວຽງຈ", False),
        ("နေပြည်တော်", "နေပြည", False),
        ("दिल्ली में", "दिल्ली", True),
        ("दिल्ली", "दिल", False),
        (" Ze\u0301", "Z\u00e9", True),
        (" Z\u00e9", "Ze\u0301", True),
        (" Ze\u0301", "Ze", False),
        (" q\u0307", "q", False),  # no composed form
    ],
)
def test_what_is_said(text, wanted, expected):
    assert begins_with(text, wanted) is expected


def test_places_where_words_stand():
    assert list(word_spans("Where in Hyderabad is Hyder?", "Hyder")) == [(22, 27)]
    assert list(word_spans("Hyderabad", "Hyder")) == list(word_spans("McHyder", "Hyder")) == []
    assert list(word_spans("法国巴黎的人", "巴黎")) == [(2, 4)]
    assert list(word_spans("the C++y of(UK)x", "(UK)")) == [(11, 15)]
    assert list(word_spans("दिल्ली", "दिल")) == []


def test_characters_of_scripts_without_blanks_count_as_words():
    assert words("The cat's 3.5, don't_x!") == ["The", "cat", "'", "s", "3", ".", "5", ",", "don", "'", "t_x", "!"]
    assert words("我们ABC是 กรุง दिल्ली") == ["我", "们", "ABC", "是", "ก", "รุ", "ง", "दिल्ली"]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\u2003", "\u200b", "\ufeff", "\u200e", "\u3164", "\u2800"])
def test_blanks_of_any_width(blank):
    assert stripped(f"{blank}a{blank}b{blank}") == f"a{blank}b"
    assert ends_of(f"{blank}ab {blank}") == (blank, f" {blank}")
    assert is_blank(blank) and not is_blank(f"{blank}a")


def test_what_shapes_a_letter_is_no_blank():
    for text in ("അവന്\u200d", "🏴\U000e0067\U000e007f", "❤\ufe0f"):
        assert stripped(text) == text


def test_the_same_text_in_other_forms():
    assert caseless_key("Ze\u0301 ") == caseless_key("z\u00c9") == caseless_key("\u200bZ\u00e9")
    assert caseless_key("ＡＢＣ  x") == caseless_key("abc x") and caseless_key("Straße") == caseless_key("STRASSE")
    assert caseless_key("Rome") != caseless_key("Romé")


def test_a_prompts_own_first_blank_and_a_contexts_last_are_one():
    assert fill("It rained. {}", " Tirel was", (1, 6)) == ("It rained. Tirel was", (11, 16))
    assert fill("{}", " Tirel was", (1, 6)) == (" Tirel was", (1, 6))
