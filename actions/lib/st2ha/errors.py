"""Every exception of ours. Each message is one sentence that a person can act on."""


class HaError(Exception):
    """The work could not be done. `kind` goes into the failed action's result."""

    kind = "failed"


class BadInput(HaError):
    """A parameter or a configuration value is wrong: the message names it, its value and the remedy."""

    kind = "bad_input"


class WorldChanged(HaError):
    """A step found the world other than the plan had read it; nothing was written by that step."""


class StepFailed(HaError):
    """A step of a plan was refused by a server or did not prove what it promised."""


class DeadlineExceeded(HaError):
    """A wait ended without what it waited for; the message says what that was."""
