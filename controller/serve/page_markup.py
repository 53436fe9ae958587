"""HTML and SVG as trees: text stays text, so that nothing from outside can become markup."""

import re
from typing import Final
from xml.etree.ElementTree import Element, tostring

Child = Element | str | None
_UNFIT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that no HTML document may hold."""


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Element:
    """One element with its children in order.

    Attributes of None or False are left out, True ones have no value, and an underscore stands for a hyphen; one at
    the end keeps a name apart from Python's own (`class_`).

    >>> html(element("p", "5 < 6", element("b", "!"), class_="sum", hidden=True, data_n=1.50))
    '<p class="sum" hidden="" data-n="1.5">5 &lt; 6<b>!</b></p>'
    """
    made = Element(name, {key.rstrip("_").replace("_", "-"): _value(each) for key, each in attributes.items()
                          if each is not None and each is not False})  # fmt: skip
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif child and last is None:
            made.text = (made.text or "") + _fit(child)
        elif child and last is not None:
            last.tail = (last.tail or "") + _fit(child)
    return made


def html(tree: Element) -> str:
    """The tree as HTML; what stands in `script` and `style` as it is, all other text escaped."""
    return tostring(tree, "unicode", method="html")


def _value(value: str | float | bool) -> str:
    if value is True:
        return ""
    return _fit(value) if isinstance(value, str) else f"{value:.5g}"


def _fit(text: str) -> str:
    return _UNFIT.sub("\ufffd", text)
