"""Flower's private names: the one place where a new Flower shows before anything else breaks."""

import pytest

TEACH = """Flower changed a private name that fedistill/transport/flower_internals.py uses:
  {error!r}
Compare flwr/app/message/message.py (where Message takes its sender from), flwr/supercore/task_identity.py and
flwr/superlink/grid/inmemory_grid.py (how a message gets its id) with identity.py. Mend that file alone, or narrow the
range of flwr in pyproject.toml. Until then no simulation can run; `flwr run .` is not affected."""


def test_flower_still_has_the_private_names_a_grid_needs() -> None:
    try:
        from flwr.app import Error, Message, RecordDict

        from fedistill.transport.flower_internals import SERVER_ID, acting_as, become_server, empty_run, stamped

        become_server(7)
        with acting_as(8, 3):
            inside = Message(RecordDict(), 5, "query")
        message = Message(RecordDict(), 5, "query.release")
        sent = stamped(message, "1")
        again = stamped(message, "2")
        reply = Message(Error(code=2, reason="no"), reply_to=sent)

        assert (inside.metadata.run_id, inside.metadata.src_node_id) == (8, 3)
        assert (message.metadata.run_id, message.metadata.src_node_id) == (7, SERVER_ID)
        assert (sent.metadata.message_id, again.metadata.message_id) == ("1", "2")
        assert sent.content is message.content
        assert (reply.metadata.reply_to_message_id, reply.metadata.src_node_id) == ("1", 5)
        assert empty_run(7).run_id == 7
    except Exception as error:
        pytest.fail(TEACH.format(error=error), pytrace=True)
