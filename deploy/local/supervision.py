"""supervisord: its configuration, written from the stack's description, and a client of its unix socket."""

from __future__ import annotations

import configparser
import http.client
import io
import os
import shlex
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from supervisor.xmlrpc import Faults, SupervisorTransport

from deploy.local.spec import PARTS, STACK_MARK, StackSpec
from deploy.local.stack import Process


@dataclass(frozen=True)
class ProcessState:
    """What supervisord knows of one process. `state` is its word: RUNNING, BACKOFF, FATAL, STOPPED..."""

    name: str
    state: str
    pid: int
    started: int
    """Unix seconds."""
    now: int
    reason: str


def configuration(spec: StackSpec, described: Iterable[Process]) -> str:
    """supervisord.conf. Nothing starts by itself: `up` starts each process once what it needs is ready."""
    config = configparser.RawConfigParser()
    config.optionxform = str  # type: ignore[assignment,method-assign]
    socket = _escaped(str(spec.control_socket))
    config["unix_http_server"] = {"file": socket, "chmod": "0700"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    config["supervisorctl"] = {"serverurl": f"unix://{socket}"}
    config["supervisord"] = {
        "logfile": _escaped(str(spec.logs / "supervisord.log")),
        "logfile_maxbytes": "5MB",
        "pidfile": _escaped(str(spec.state / "supervisord.pid")),
        "childlogdir": _escaped(str(spec.logs)),
        "identifier": f"tercet-{spec.identity}",
        # Running as the superuser is supervisord's warning to give only when nobody chose it.
        **({"user": "root"} if os.getuid() == 0 else {}),
    }
    for process in described:
        config[f"program:{process.name}"] = {
            "command": _escaped(shlex.join(process.command)),
            "directory": _escaped(str(process.directory)),
            "environment": _environment({**process.environment, STACK_MARK: spec.identity}),
            # The same for all replicas: a further one must not change what supervisord knows of the others.
            "priority": str(PARTS.index(process.part)),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": "2",
            "startretries": "10",
            "stopsignal": "TERM",
            "stopwaitsecs": str(process.stop_seconds),
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            # supervisord expands this one twice.
            "stdout_logfile": _escaped(_escaped(str(spec.logs / f"{process.name}.log"))),
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": "1",
        }
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


def _environment(values: Mapping[str, str]) -> str:
    quoted = []
    for key, value in sorted(values.items()):
        if '"' in value or "\n" in value:
            raise ValueError(f"supervisord cannot pass on {key}: it holds a double quote or a line break")
        quoted.append(f'{key}="{_escaped(value)}"')
    return ",".join(quoted)


class Supervisor:
    """A client of one stack's supervisord. Every call raises OSError when it does not run."""

    def __init__(self, spec: StackSpec) -> None:
        self._url = f"unix://{spec.control_socket}"

    def running(self) -> bool:
        """Whether supervisord lives; true in its shutdown too, when it refuses every call."""
        try:
            self._call("getState")
        except OSError:
            return False
        except xmlrpc.client.Fault:
            return True
        return True

    def states(self) -> dict[str, ProcessState]:
        rows = cast(list[dict[str, Any]], self._call("getAllProcessInfo"))
        return {
            row["name"]: ProcessState(
                row["name"], row["statename"], row["pid"], row["start"], row["now"], row["spawnerr"]
            )
            for row in rows
        }

    def start(self, name: str) -> None:
        """Ask for a start and return at once; nothing when it is started already."""
        self._call("startProcess", name, False, tolerated=Faults.ALREADY_STARTED)

    def stop(self, name: str) -> None:
        """Stop and wait until it has ended; nothing when it does not run."""
        self._call("stopProcess", name, True, tolerated=Faults.NOT_RUNNING)

    def stop_soon(self, name: str) -> None:
        """Ask for a stop and return at once; nothing when it does not run."""
        self._call("stopProcess", name, False, tolerated=Faults.NOT_RUNNING)

    def reload(self) -> tuple[list[str], list[str], list[str]]:
        """Read the configuration again; the processes it adds, changes and removes. Starts none."""
        answer = cast(list[list[list[str]]], self._call("reloadConfig"))
        added, changed, removed = answer[0]
        return added, changed, removed

    def add(self, name: str) -> None:
        self._call("addProcessGroup", name, tolerated=Faults.ALREADY_ADDED)

    def remove(self, name: str) -> None:
        """Stop a process and forget it."""
        self.stop(name)
        self._call("removeProcessGroup", name)

    def shutdown(self) -> None:
        """Ask for the end of everything and return at once."""
        self._call("shutdown")

    def _call(self, method: str, *arguments: object, tolerated: int | None = None) -> object:
        """Raises OSError when supervisord does not answer, Fault when it refuses for another reason."""
        transport = SupervisorTransport(None, None, serverurl=self._url)
        # xmlrpc wants an http URL and never uses it: the transport goes to the socket.
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport) as proxy:
            try:
                return getattr(proxy.supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != tolerated:
                    raise
                return None
            except http.client.HTTPException as error:
                raise ConnectionError(f"supervisord broke off its answer ({error})") from error
