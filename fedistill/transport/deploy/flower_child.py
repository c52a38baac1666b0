"""A Flower command as a child of ours: it ends with its parent, and a SuperLink's doors open only where they should.

``python -m fedistill.transport.deploy.flower_child PARENT COMMAND ARGUMENTS``: COMMAND is ``supernode``; ``superlink``,
whose first argument is the file of its token; ``superexec``, which starts the server's app for each run; or
``serverapp``, that app. Like ``identity.py``, this file uses private names of Flower; ``tests/deployment`` holds them
against its versions.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TASK_TOKEN = "FEDISTILL_TASK_TOKEN"  # the name of a variable, no token
"""By which a run's process is handed the token of its work: everybody may read the arguments of a process."""


def main(parent: int, command: str, arguments: list[str]) -> None:
    """Run the command in this process."""
    from flwr.supercore.app_utils import start_parent_process_monitor

    start_parent_process_monitor(parent)
    _COMMANDS[command](arguments)


def _supernode(arguments: list[str]) -> None:
    from flwr.supernode.cli.flower_supernode import flower_supernode

    sys.argv = ["flower-supernode", *arguments]
    flower_supernode()


def _superlink(arguments: list[str]) -> None:
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    from fedistill.transport.deploy.access import Doors, OnlySettings, is_known
    from fedistill.transport.deploy.control_token import read_token
    from fedistill.transport.deploy.request_bodies import Bodies

    token, *rest = arguments
    doors = Middleware(Doors, token=read_token(Path(token)))
    extensions.get_middleware = lambda: (doors, Middleware(Bodies, known=is_known), Middleware(OnlySettings))
    sys.argv = ["flower-superlink", *rest]
    flower_superlink()


def _superexec(arguments: list[str]) -> None:
    from flwr.supercore.cli.flower_superexec import flower_superexec
    from flwr.supercore.constant import TaskType
    from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
    from flwr.supercore.superexec.plugin.base_exec_plugin import AutoExecPlugin

    AutoExecPlugin.supported_task_types = frozenset({TaskType.SERVER_APP})  # nothing else is ever started here
    setattr(SubprocessExecutor, "launch", _launch)  # noqa: B010 - the type checker knows what it is
    sys.argv = ["flower-superexec", *arguments]
    flower_superexec()


def _launch(executor: Any, spec: Any) -> Any:
    """Start a run's process. Flower's own way puts the token of its work among the arguments."""
    from flwr.supercore.superexec.executor.types import LaunchResult

    command, environment = app_command(spec)
    subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return LaunchResult.accepted()


def app_command(spec: Any) -> tuple[Sequence[str], dict[str, str]]:
    """Return the arguments and the environment of a run's process."""
    trust = ["--insecure"] if spec.insecure else ["--root-certificates", str(spec.root_certificates_path)]
    words = ["-P", "-m", "fedistill.transport.deploy.flower_child", str(os.getpid()), "serverapp"]
    command = [sys.executable, *words, "--runtime-api-address", spec.runtime_api_address, *trust]
    return command, {**os.environ, TASK_TOKEN: spec.token}


def _serverapp(arguments: list[str]) -> None:
    from flwr.superlink.cli.flwr_serverapp import flwr_serverapp

    sys.argv = ["flwr-serverapp", *arguments, "--token", os.environ.pop(TASK_TOKEN)]
    flwr_serverapp()


_COMMANDS = {"supernode": _supernode, "superlink": _superlink, "superexec": _superexec, "serverapp": _serverapp}

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
