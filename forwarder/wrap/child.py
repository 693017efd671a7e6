"""Runs a program in our place: same terminal and process group, signals passed on, the same end.

The program stays in this process group, so that keys reach it and the terminal's signals come to both. What somebody
sends to this process alone is passed on, stopping and going on included.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from typing import Final, NoReturn

WAITED: Final = {
    signal.SIGCHLD,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
}
AT_ONCE: Final = {signal.SIGTSTP, signal.SIGCONT}
"""Signals that do no harm when they come twice."""
FROM_KERNEL: Final = 0x80
"""SI_KERNEL: from the terminal, which sends to the whole process group."""
GRACE: Final = 0.1
"""Seconds in which a program that got a signal itself, with its group, will have ended."""
RESTORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, and a program that it starts must not."""


class Child:
    """A program that is started by `start` and waited for by `wait`, with signals held back in between."""

    def __init__(self) -> None:
        self._caught = {number for number in WAITED if signal.getsignal(number) != signal.SIG_IGN} | {signal.SIGCHLD}
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._caught)
        self.pid = 0

    def start(self, tool: str, argv: list[str], environment: dict[str, str], output: int = 1) -> int:
        """Start the program, with `output` as its standard output; return its process id.

        Raises:
            OSError: it cannot be started.
        """
        actions = [(os.POSIX_SPAWN_DUP2, output, 1)] if output != 1 else []
        self.pid = os.posix_spawn(
            tool, argv, environment, file_actions=actions, setsigmask=self._before, setsigdef=RESTORED
        )
        return self.pid

    def wait(self) -> int:
        """Wait for its end; return its wait status."""
        owed: set[int] = set()
        while True:
            came = signal.sigtimedwait(self._caught, GRACE) if owed else signal.sigwaitinfo(self._caught)
            if came is None:
                for number in owed:
                    self._send(number)
                owed.clear()
            elif came.si_signo == signal.SIGCHLD:
                if (status := self._look()) is not None:
                    return status
            elif came.si_signo in AT_ONCE:
                self._send(came.si_signo)
            elif came.si_code != FROM_KERNEL:
                owed.add(came.si_signo)

    def _look(self) -> int | None:
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return None
            if not os.WIFSTOPPED(status):
                return status
            self._stop(os.WSTOPSIG(status))

    def _stop(self, number: int) -> None:
        """Stop as the program did, so that the shell sees it; when the shell has us go on, it goes on."""
        if number == signal.SIGSTOP and not in_foreground():
            return  # whoever sent that knows the program's process id, and will have that one go on
        while signal.sigtimedwait({signal.SIGTSTP}, 0):  # the one that came to both of us; it would stop us twice
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_BLOCK, self._caught & {signal.SIGTSTP})
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except OSError:
            return

    def release(self) -> None:
        """Let signals through again; those that came in between meant the program, not us."""
        while signal.sigtimedwait(self._caught, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)


def in_foreground() -> bool:
    """Tell whether this process group has the terminal."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:  # noqa: PTH123
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def copying(read_end: int, write_end: int, copy: int) -> int:
    """Start a process that passes on what comes through a pipe, and copies it; return its process id.

    It outlives us, as the program does: both go on when we are killed.

    Args:
        read_end: of the pipe.
        write_end: of the pipe; closed there.
        copy: descriptor of the copy. When that cannot be written, the rest is still passed on.
    """
    pid = os.fork()
    if pid:
        return pid
    os.close(write_end)
    complete = True
    try:
        while data := os.read(read_end, 1 << 16):
            complete = complete and _attempt(lambda data=data: _write(copy, data))  # type: ignore[misc]
            _write(1, data)
    except OSError:
        complete = False
    finally:
        os._exit(0 if complete else 1)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _attempt(action: Callable[[], None]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def end_like(status: int) -> int:
    """Return the exit code of a program that ended by itself; end by the same signal if one ended it."""
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    return _die(os.WTERMSIG(status))


def _die(number: int) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)
