"""Text that every UTF-8 writer accepts."""

import re

_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean_text(text: str) -> tuple[str, bool]:
    r"""Return `text` without surrogates, and whether a lone one was replaced by U+FFFD.

    A proper pair becomes the character it stands for. A lone surrogate (half of an emoji cut by a
    token limit arrives as `\ud83d` in JSON) would fail the whole Arrow batch, not only its row.
    """
    joined = _PAIR.sub(_join, text)
    cleaned, replaced = _SURROGATE.subn("\ufffd", joined)
    return cleaned, replaced > 0


def _join(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")
