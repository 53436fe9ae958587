"""`controller whatif`: every k priced from a few numbers, or two saved recommendations compared; and the pictures."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from controller.commands.drawing import refuse_picture
from controller.commands.exit_codes import FAILED, OK
from controller.commands.say import say
from controller.commands.whatif_inputs import question, states_acceptance, states_cost
from controller.observe.errors import cause
from controller.options.base import SettingsError
from controller.options.whatif import Figure, WhatIfOptions
from controller.report.saved import read
from controller.report.upgrade import Upgrade, upgrade, upgrade_document, upgrade_text
from controller.report.whatif import Question, whatif_document, whatif_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

_GENERAL: Final = (Figure.PLANE, Figure.TEXTBOOK)
"""These can be drawn without a question."""


def whatif(options: WhatIfOptions) -> int:
    """Answer the question, or make the business case; with --plot, draw it."""
    if options.plot is None and options.figure is not Figure.K:
        raise SettingsError(f"--figure {options.figure} wants --plot, the file to draw into")
    if options.plot is not None:
        refuse_picture(options.plot, "--plot")
    if options.compare:
        return _compare(options)
    if options.figure in _GENERAL and not _asks(options):
        return _draw(options, None)
    asked = question(options)
    if options.figure is Figure.BATCH and asked.cost.half_batch is None:
        raise SettingsError("--figure batch wants --half-batch: without it the best k does not depend on the batch")
    print(json.dumps(whatif_document(asked), indent=2) if options.output == "json" else whatif_text(asked))
    return OK if options.plot is None else _draw(options, asked)


def _asks(options: WhatIfOptions) -> bool:
    return states_acceptance(options) or states_cost(options) or options.recommendation is not None


def _compare(options: WhatIfOptions) -> int:
    if len(options.compare) != 2:
        raise SettingsError(f"--compare wants two files, before and after; {len(options.compare)} given")
    if _asks(options):
        raise SettingsError("--compare takes everything from its two files: leave acceptance, cost and others out")
    if options.figure is not Figure.K:
        raise SettingsError(f"--figure {options.figure} has nothing to compare: only speed over k has")
    try:
        before, after = map(read, options.compare)
    except ValueError as error:
        raise SettingsError(f"--compare: {error}") from error
    found = upgrade(before, after)
    print(json.dumps(upgrade_document(found), indent=2) if options.output == "json" else upgrade_text(found))
    return OK if options.plot is None else _draw(options, found)


def _draw(options: WhatIfOptions, subject: Question | Upgrade | None) -> int:
    from controller.report.plots import save  # noqa: PLC0415  # loads matplotlib

    assert options.plot is not None
    try:
        save(_picture(options.figure, subject), options.plot)
    except OSError as error:
        say(f"controller whatif: cannot write {options.plot} ({cause(error)})")
        return FAILED
    say(f"drawn into {options.plot}")
    return OK


def _picture(figure: Figure, subject: Question | Upgrade | None) -> "Picture":
    from controller.report import plots  # noqa: PLC0415  # loads matplotlib

    if isinstance(subject, Upgrade):
        return plots.upgrade_over_k(subject)
    general: dict[Figure, Callable[[], Picture]] = {
        Figure.PLANE: lambda: plots.plane(subject),
        Figure.TEXTBOOK: plots.textbook,
    }
    if figure in general:
        return general[figure]()
    assert subject is not None
    return plots.over_k(subject) if figure is Figure.K else plots.over_batch(subject)
