"""A session handler of threadwire: it is called once a connection."""

import threadwire


@threadwire.session
def reverse_session(connection: threadwire.Connection) -> None:
    for message in connection:
        connection.send(message[::-1])
