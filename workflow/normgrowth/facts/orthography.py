"""Orthography: where a blank stands between words, where words end, when two spellings are the same text.

Most scripts put a blank between words. Those of `UNSPACED` do not, and there a word ends wherever a character does
(Unicode Standard Annex 29, word boundaries). Positions are of Unicode code points.
"""

import unicodedata
from collections.abc import Iterator

import regex

_SCRIPTS = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Tangut", "Nushu"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet"),
    *("Tibetan", "Javanese", "Balinese"),
)
_WIDE = r"[[\p{East_Asian_Width=W}\p{East_Asian_Width=F}]&&[\p{P}\p{Lm}]]"  # 「。」 and the long vowel mark ー
UNSPACED = "[" + "".join(rf"\p{{Script={script}}}" for script in _SCRIPTS) + _WIDE + "]"
"""Class of the characters of scripts that are written without blanks between words, their punctuation included."""

_INVISIBLE = r"\p{Cc}\u00AD\u061C\u180E\u200B\u200E\u200F\u202A-\u202E\u2060-\u2064\u2066-\u2069\uFEFF"
_NO_INK = r"\u115F\u1160\u2800\u3164\uFFA0"  # letters and signs by category that look like a blank
_BLANK = rf"(?:[\s{_INVISIBLE}{_NO_INK}]|(?<!\p{{M}})[\u200C\u200D])"  # a joiner after a mark shapes that letter
_AT_START = regex.compile(rf"(?V1)^{_BLANK}+")
_AT_END = regex.compile(rf"(?V1){_BLANK}+\Z")
_AT_PROMPT_END = regex.compile(rf"(?V1)(?:(?![\n\r\u2028\u2029\u3000]){_BLANK})+\Z")

_ENDS_UNSPACED = regex.compile(rf"(?V1){UNSPACED}[\p{{M}}\p{{Cf}}]*\Z")
_LAST_WORD_UNSPACED = regex.compile(rf"(?V1){UNSPACED}[^\s\p{{Hangul}}]*\Z")  # Korean has blanks
_BEGINS_UNSPACED = regex.compile(rf"(?V1){UNSPACED}")

_ENDS_WIDE = regex.compile(rf"(?V1)[{_WIDE}&&\p{{P}}]\Z")
_FULL_STOPS = {
    regex.compile(rf"(?V1)[{scripts}][\p{{M}}\p{{Cf}}ー]*\Z"): stop
    for scripts, stop in {
        r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Bopomofo}": "。",
        r"\p{Script=Thai}\p{Script=Lao}": " ",
        r"\p{Script=Khmer}": "។ ",
        r"\p{Script=Myanmar}": "။ ",
    }.items()
}

_LETTER = r"[\w\p{N}]"
_BEGINS_WORD = regex.compile(_LETTER)
# A vowel written behind its consonant belongs to it, though Thai and Lao encode it as a letter; so do small kana.
_TAIL = r"[[\p{InSC=Vowel_Dependent}--\p{InPC=Visual_Order_Left}]\p{M}ぁぃぅぇぉゃゅょゎァィゥェォャュョヮ]"
# Unicode's own rule takes "Oslo's" for one word, though it says Oslo; so it decides only in scripts without blanks.
_BY_UNICODE = rf"(?w:\b)(?:(?={UNSPACED})|(?<={UNSPACED}\p{{M}}*))"
_NO_LETTER_AFTER = rf"(?!{_TAIL})(?:(?!{_LETTER})|{_BY_UNICODE})"
# Unicode takes "Oslo's" and "1.5" for one word each; here the first says Oslo, since no letter follows it.
_WORD_START = rf"(?:(?<!{_LETTER})|(?w:\b))"
_WORD_END = rf"(?!{_TAIL})(?:(?!{_LETTER})|(?w:\b))"
_WORD = regex.compile(rf"(?V1)(?:(?!{UNSPACED}){_LETTER})+|(?:(?!\s)\X)")


def stripped(text: str) -> str:
    """A text without blanks at its ends: white space of any width, zero included, and characters without ink."""
    text = text.strip()
    if _is_plain(text[:1]) and _is_plain(text[-1:]):
        return text  # fast path: facts files hold hundreds of thousands of texts
    return _AT_END.sub("", _AT_START.sub("", text))


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isprintable() and character != " "


def is_blank(text: str) -> bool:
    """Test for a text of blanks alone, or of nothing."""
    return not (text[:1].isascii() and text[:1].isalnum()) and not stripped(text)


def ends_of(text: str) -> tuple[str, str]:
    """The blanks that a text begins with and those that it ends with, as `stripped` understands them."""
    bare = stripped(text)
    start = text.index(bare)
    return text[:start], text[start + len(bare) :]


def caseless_key(text: str) -> str:
    """Key that two texts share if they differ only in Unicode form (NFKC), case or blanks."""
    folded = unicodedata.normalize("NFKC", stripped(text)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def without_blank(prompt: str) -> str:
    """A prompt without the blanks that it ends with, which tokenizers give to the word after; line breaks stay."""
    return prompt if _is_plain(prompt[-1:]) else _AT_PROMPT_END.sub("", prompt)


def with_blank(prompt: str) -> str:
    """A prompt that ends in a blank, so that objects follow it with one."""
    return prompt if prompt[-1:].isspace() else prompt + " "


def starts_with_letter(text: str) -> bool:
    """Test for a text that begins with a letter or a digit."""
    return _BEGINS_WORD.match(text) is not None


def separator(prompt: str, target: str) -> str:
    """Separator of a prompt without its last blanks and an object without its first: a blank or nothing.

    A prompt that ends in a blank, or an object that begins with one, asks for a blank; after a line break or an
    ideographic space there is none. Otherwise the characters that meet decide. Behind a character of a script without
    blanks (`UNSPACED`) there is none, whatever follows. Before such a character there is none if the prompt's last word
    holds one too, as where a number or a name in other letters stands among them. Everything else has a blank.
    """
    bare = without_blank(prompt)
    if any(map(str.isspace, prompt[len(bare) :])) or target[:1].isspace():
        return " "
    if bare.isascii() and not bare[-1:].isspace():
        return " "
    if bare[-1:].isspace() or _ENDS_UNSPACED.search(bare):
        return ""
    return "" if _BEGINS_UNSPACED.match(target) and _LAST_WORD_UNSPACED.search(bare) else " "


def joined(prompt: str, target: str) -> str:
    """A prompt and the object that completes it as one text (see `separator`)."""
    return without_blank(prompt) + separator(prompt, target) + target.lstrip()


def full_stop(text: str) -> str:
    """Full stop and blank between a sentence and the next one, in the script that the text ends in."""
    if _ENDS_WIDE.search(text):
        return ""
    return next((stop for script, stop in _FULL_STOPS.items() if script.search(text)), ". ")


def begins_with(text: str, wanted: str) -> bool:
    """Test for a text that begins with the wanted words, and not with a longer word that they begin.

    Spellings that differ in Unicode form alone are the same; case counts. In scripts without blanks a word may end
    behind any character, but not before a mark or a vowel that belongs to it.
    """
    text, wanted = (unicodedata.normalize("NFC", part) for part in (text, stripped(wanted)))
    return regex.match(rf"(?V1){_BLANK}*{regex.escape(wanted)}{_NO_LETTER_AFTER}", text) is not None


def word_spans(text: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Character spans at which a text holds the wanted words, and not as a part of longer ones."""
    pattern = rf"(?V1){_WORD_START}{regex.escape(wanted)}{_WORD_END}"
    return (match.span() for match in regex.finditer(pattern, text))


def words(text: str) -> list[str]:
    """Words and signs of a text; in scripts without blanks each character counts as a word."""
    return _WORD.findall(text)
