"""What a row of a fleet is called."""

from controller.cycle import EngineCycle
from controller.plain import plain

NAME_MAX = 160


def name(engine: EngineCycle) -> str:
    """Of a group the values of its labels, of a server namespace and pod, or its address; and the model.

    Two rows may be called alike where other labels tell them apart; the JSON document has all labels.
    """
    labels = dict(engine.labels)
    parts = [value for _, value in engine.labels]
    if engine.engine and ("pod" in labels or "instance" in labels):
        parts = [labels.get("namespace", ""), labels.get("pod") or labels["instance"]]
    number = f" (engine {engine.engine})" if engine.engine not in ("", "0") else ""
    return plain("/".join(each for each in (*parts, engine.model_name) if each) + number, NAME_MAX)
