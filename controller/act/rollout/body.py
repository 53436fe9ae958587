"""Request bodies, written as the API server itself writes JSON: a `test` compares strings as they are written."""

import json
from typing import Any, Final

_ESCAPES: Final = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"})


def body_of(thing: Any) -> bytes:
    r"""The JSON of a request, with the escapes of Go's encoding/json.

    The API server applies a JSON patch to the object as it has written it, and a `test` of a string compares the two
    literals byte by byte (kubernetes/kubernetes, vendor/gopkg.in/evanphx/json-patch.v4, `lazyNode.equal`). `a && b` in
    a shell script equals `a \u0026\u0026 b` only when it is written so, and `é` only when it is not escaped.

    >>> body_of(["a && b", "é"])
    b'["a \\u0026\\u0026 b", "\xc3\xa9"]'
    """
    return json.dumps(thing, ensure_ascii=False).translate(_ESCAPES).encode()
