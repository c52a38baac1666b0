"""A Flower command as a child of ours: it ends with its parent, and a SuperLink's doors open only where they should.

``python -m fedistill.federation.flower_child PARENT supernode|superlink ARGUMENTS``. Like ``identity.py``, this file
uses private names of Flower; ``tests/deployment`` holds them against its versions.
"""

import ipaddress
import sys
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

OPEN = ("/v1/fleet/",)
"""What nodes ask for, which know themselves by their keys."""


class OnlyFromHere:
    """Refuses all but nodes' requests from other machines.

    Whoever could reach them might register keys of his own, submit runs, or take a run's work in the server's place:
    Flower asks for no account there.

    Args:
        app: the SuperLink's.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(OPEN) and not is_here(scope.get("client")):
            await PlainTextResponse("only from the server's own machine", status_code=403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_here(client: Any) -> bool:
    """Whether (host, port) is of this machine.

    >>> is_here(("127.0.0.1", 4)), is_here(("::1", 4)), is_here(("10.0.0.7", 4)), is_here(None)
    (True, True, False, False)
    """
    try:
        host = ipaddress.ip_address(client[0])
    except (TypeError, ValueError):
        return False
    mapped = getattr(host, "ipv4_mapped", None)
    return bool((mapped or host).is_loopback)


def main(parent: int, command: str, arguments: list[str]) -> None:
    """Run the command in this process."""
    from flwr.supercore.app_utils import start_parent_process_monitor

    start_parent_process_monitor(parent)
    sys.argv = [f"flower-{command}", *arguments]
    if command == "supernode":
        from flwr.supernode.cli.flower_supernode import flower_supernode

        flower_supernode()
        return
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink

    extensions.get_middleware = lambda: (Middleware(OnlyFromHere),)
    flower_superlink()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
