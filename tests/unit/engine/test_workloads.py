"""What a request calls itself, and what of it is believed."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.engine.workloads import LABEL, as_label, configured, workload_of


def request(extra: Any = None, adapter: str | None = None) -> Any:
    """A request of vLLM, as far as it is looked at."""
    lora = None if adapter is None else SimpleNamespace(lora_name=adapter)
    return SimpleNamespace(sampling_params=SimpleNamespace(extra_args=extra), lora_request=lora)


def test_the_label_comes_first_then_the_adapter_then_the_model() -> None:
    """Other extra arguments are none of our business."""
    assert workload_of(request({"workload": "chat"}, "sql-lora"), "tiny") == "chat"
    assert workload_of(request({"top_h": 1}, "org/sql-lora"), "tiny") == "org_sql-lora"
    assert workload_of(request(), "tiny") == "tiny"


def test_a_request_for_an_embedding_has_no_sampling_parameters() -> None:
    """It is still somebody's."""
    assert workload_of(SimpleNamespace(sampling_params=None, lora_request=None), "tiny") == "tiny"


@pytest.mark.parametrize("label", ["", "a" * 65, "a b", "chat\n", 'x"} 1\nup', "ä", "../etc", 5, True, None, ["a"], {}])
def test_an_unfit_label_is_other_and_is_not_repaired(label: Any) -> None:
    """Nobody's text enters a report, and nobody slips into a workload by a label that only looks like its own."""
    assert workload_of(request({"workload": label}, "adapter"), "tiny") == "other"


@given(st.text())
def test_any_name_of_a_model_becomes_a_label(name: str) -> None:
    """What the operator chose is repaired."""
    assert LABEL.fullmatch(as_label(name))


@pytest.mark.parametrize(
    ("listed", "labels", "in_vain"),
    [
        (None, (), ()),
        (" , ", (), ()),
        ("chat,code,chat", ("chat", "code"), ()),
        ("chat,a b,other", ("chat",), ("a b", "other")),
        (",".join(f"w{n}" for n in range(65)), tuple(f"w{n}" for n in range(64)), ("w64",)),
    ],
)
def test_configured_names_are_labels_and_at_most_64(
    listed: str | None, labels: tuple[str, ...], in_vain: tuple[str, ...]
) -> None:
    """What is listed in vain is told, so that a misspelt one is noticed."""
    assert configured(listed) == (labels, in_vain)
