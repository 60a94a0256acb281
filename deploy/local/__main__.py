"""The local stack's command line: `python -m deploy.local --help`."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from deploy.local.lifecycle import LocalStack, StackError
from deploy.local.ports import Ports
from deploy.local.spec import HOME, MODELS, PARTS, REPOSITORY, StackSpec
from deploy.local.status import table


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    spec = StackSpec.load(options.state)
    if options.command == "up":
        return _up(options, spec)
    if spec is None:
        if options.command == "down":
            return 0
        raise StackError(f"no stack was ever started in {options.state}: make up")
    stack = LocalStack(spec, say=_say)
    match options.command:
        case "down":
            stack.down()
        case "status":
            print(table(stack))
            return 0 if stack.running() else 3
        case "logs":
            return _logs(stack, options)
        case "scale":
            stack.scale(options.service, options.replicas)
        case "restart":
            stack.restart(options.name)
        case "stop":
            stack.stop(options.name)
        case "start":
            stack.start(options.name)
        case "kill":
            print(*stack.kill(options.name))
        case "env":
            for key, value in stack.environment.items():
                print(f"export {key}={shlex.quote(value)}")
    return 0


def _up(options: argparse.Namespace, previous: StackSpec | None) -> int:
    spec = _chosen(options)
    if previous is not None and LocalStack(previous).running():
        if spec.ports != previous.ports and options.ports_base is not None and options.ports_base != "free":
            raise StackError("the stack runs at other ports: `down` first")
        # Replicas were perhaps scaled since: a second `up` only makes sure that what was chosen runs.
        spec = previous
    stack = LocalStack(spec, say=_say)
    stack.up(deadline_seconds=options.deadline)
    print(table(stack))
    if "gateway" in spec.parts:
        print(f"\nThe gateway answers at {stack.environment['TERCET_URL']}, its key is in {spec.key_file}")
    return 0


def _chosen(options: argparse.Namespace) -> StackSpec:
    ports = Ports()
    if options.ports_base == "free":
        ports = Ports.free()
    elif options.ports_base is not None:
        ports = Ports.based_at(int(options.ports_base))
    replicas = dict(choice.split("=", 1) for choice in options.replicas)
    return StackSpec.model_validate(
        {
            "state": options.state,
            "ports": ports,
            "parts": tuple(options.only.split(",")),
            "kafka_nodes": options.kafka_nodes,
            "replicas": replicas,
            "model_repository": options.model_repository,
            "models": tuple(model for model in options.models.split(",") if model),
        }
    )


def _logs(stack: LocalStack, options: argparse.Namespace) -> int:
    chosen = (
        stack.select(options.name)
        if options.name
        else [p for part in stack.spec.parts for p in stack.select(part)]
    )
    paths = [str(stack.log(process.name)) for process in chosen if stack.log(process.name).exists()]
    if not paths:
        raise StackError("no logs yet")
    follow = ["-F"] if options.follow else []
    try:
        return subprocess.run(["tail", "-n", str(options.lines), *follow, *paths], check=False).returncode
    except KeyboardInterrupt:
        return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(os.environ.get("TERCET_STACK_STATE") or HOME / "stack"),
        help="the stack's folder; one stack a folder (TERCET_STACK_STATE, default %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    up = commands.add_parser("up", help="start what does not run yet; return when all of it is ready")
    up.add_argument("--only", default=",".join(PARTS), help="the parts to run (default %(default)s)")
    up.add_argument(
        "--ports-base",
        default=os.environ.get("TERCET_STACK_PORTS_BASE") or None,
        help="put every port above this one, or 'free' for a free block (TERCET_STACK_PORTS_BASE)",
    )
    up.add_argument("--kafka-nodes", type=int, choices=(1, 2, 3), default=1, help="Kafka nodes (default 1)")
    up.add_argument(
        "--replicas", action="append", default=[], metavar="SERVICE=N", help="replicas of a service"
    )
    up.add_argument("--model-repository", type=Path, default=REPOSITORY / "model_repository", metavar="DIR")
    up.add_argument(
        "--models", default=",".join(MODELS), help="models loaded at the start (default %(default)s)"
    )
    up.add_argument("--deadline", type=float, default=300, help="seconds until it gives up (default 300)")

    commands.add_parser("down", help="stop everything")
    commands.add_parser("status", help="a table of the processes; exit code 3 when nothing runs")
    commands.add_parser("env", help="print the settings by which a process reaches this stack")
    logs = commands.add_parser("logs", help="show logs")
    logs.add_argument("name", nargs="?", help="a process or a part; all where it is left out")
    logs.add_argument("--follow", "-f", action="store_true", help="go on showing what comes")
    logs.add_argument("--lines", "-n", type=int, default=30)
    scale = commands.add_parser("scale", help="run N replicas of a service")
    scale.add_argument("service")
    scale.add_argument("replicas", type=int)
    for command, text in (
        ("restart", "stop and start a process or part, and wait until it is ready"),
        ("stop", "stop a process or part"),
        ("start", "start a stopped process or part"),
        ("kill", "kill -9 a process or part; the supervisor starts it again"),
    ):
        commands.add_parser(command, help=text).add_argument("name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
