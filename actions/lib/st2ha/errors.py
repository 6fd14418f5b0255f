"""Every exception of ours. Each message is one sentence that a person can act on."""

from st2ha import __version__


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


class HostError(HaError):
    """A command on a node did not do what it was run for. Each subclass is one kind of failure."""


class NotStarted(HostError):
    """There is no such program here, or it may not be run."""


class HostUnreachable(HostError):
    """The remote shell did not get to the node, or was not let in."""


class HostNotTrusted(HostUnreachable):
    """The node's host key is unknown, or another one than it was."""


class LoginRefused(HostUnreachable):
    """The node's sshd is there and refuses the key, or the user."""


class NotPermitted(HostError):
    """sudo on the node does not allow the command."""


class CommandFailed(HostError):
    """It ended with another code than 0: `code`."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class TooMuchOutput(HostError):
    """It wrote more than was allowed, and was killed."""


class CommandTimedOut(HostError):
    """It did not end before its deadline, and was killed with all that it had started."""


class NoPrimary(HaError):
    """A replica set has no primary just now; after an election it will have one."""


def internal(error: BaseException) -> str:
    """The sentence for an exception that is not ours: where it was raised, not its text, which could hold a secret."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return f"internal error {type(error).__name__} at {place} of st2ha {__version__}: please report it"
