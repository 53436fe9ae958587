"""`controller reset`: back to the launch schedule, at once; the three-in-the-morning command."""

from controller.act.live import LiveActuator, LiveSettings
from controller.commands.connection import plugin_fetcher
from controller.commands.exit_codes import FAILED, OK
from controller.commands.say import say
from controller.observe.errors import ObserveError
from controller.options.verbs import ResetOptions


def reset(options: ResetOptions) -> int:
    """Take back whatever schedule is held, by whomever; doing so twice does no harm."""
    fetcher = plugin_fetcher(options, options.plugin_token_file)
    try:
        after = LiveActuator(options.url, fetcher, LiveSettings(owner="controller-reset")).reset()
    except ObserveError as error:
        say(f"controller reset: {error.message}")
        return FAILED
    schedule = ", ".join(f"batch {low}-{high}: k={k}" for low, high, k in after.schedule)
    print(f"The engine runs its launch schedule: {schedule or 'no speculation'}. A sidecar in apply mode keeps out for")
    print("its --stand-down-seconds; freeze it (--freeze-file) or stop it to keep it so.")
    return OK
