"""Every limit of threadwire: its name, unit, default and the reason for it.

A limit is declared once, here; keyword arguments, command-line options, help
texts and documentation take name and default from the declaration.
"""

from __future__ import annotations

import resource

from .limit import OFF, Limit

__all__ = [
    "ACCEPT_PAUSE",
    "ACCEPT_RATE",
    "ADMIN_DESCRIPTORS",
    "ADMIN_TLS_DESCRIPTORS",
    "ANSWER_TIMEOUT",
    "BACKLOG",
    "CLIENT_TIMEOUT",
    "DESCRIPTOR_RESERVE",
    "DRAIN_TIMEOUT",
    "FIRST_BACKOFF",
    "HANDOFF_AFTER",
    "HANDOVER_TIMEOUT",
    "HANDSHAKE_TIMEOUT",
    "HIGH_WATER",
    "IDLE_TIMEOUT",
    "JOIN_GRACE",
    "KEEPALIVE_COUNT",
    "KEEPALIVE_IDLE",
    "KEEPALIVE_INTERVAL",
    "LIMITS",
    "LINGER_BYTES",
    "LINGER_TIMEOUT",
    "LOG_QUEUE",
    "LOG_REPEATS",
    "MAX_BACKOFF",
    "MAX_CLIENTS",
    "MAX_CLIENTS_PER_IP",
    "MAX_HANDSHAKES",
    "MAX_MESSAGE",
    "MAX_REFUSALS",
    "MAX_THREADS",
    "MESSAGE_TIMEOUT",
    "OFF",
    "PIPELINE_BYTES",
    "PIPELINE_WINDOW",
    "POOL_IDLE",
    "POOL_SIZE",
    "PROXY_TIMEOUT",
    "QUIET_SECONDS",
    "READ_SIZE",
    "RELOAD_INTERVAL",
    "RETRY_ATTEMPTS",
    "RETRY_BUDGET",
    "RETRY_RESERVE",
    "SLOW",
    "SPARE_SECONDS",
    "SWITCH_INTERVAL",
    "USER_TIMEOUT",
    "WRITE_PROGRESS",
    "WRITE_TIMEOUT",
    "Limit",
    "clients_for",
    "default_max_clients",
]

MAX_MESSAGE = Limit(
    "max_message",
    "bytes",
    1 << 20,
    1,
    "The most bytes a received message may have; a larger one ends its connection.",
    "holds any line that a person or a device writes, and bounds a client's memory",
)
BACKLOG = Limit(
    "backlog",
    "count",
    1024,
    1,
    "How many connections the system holds until they are accepted.",
    "enough for a burst of reconnects; the system may cap it (net.core.somaxconn)",
)
MAX_CLIENTS = Limit(
    "max_clients",
    "count",
    10_000,
    1,
    "How many clients are served at once; further ones wait, or are refused (overload).",
    "bounds threads and memory; less where the descriptor limit allows less",
)
MAX_CLIENTS_PER_IP = Limit(
    "max_clients_per_ip",
    "count",
    OFF,
    1,
    "How many clients of one address (IPv6: one /64) are served at once; further ones are refused.",
    "many clients may stand behind one address, so only who runs the server can say",
    optional=True,
)
ACCEPT_RATE = Limit(
    "accept_rate",
    "a second",
    OFF,
    0.01,
    "How many clients are accepted a second, on average; further ones wait in the backlog.",
    "accepting is cheap; a limit is for handlers whose clients' first steps are not",
    optional=True,
)
MAX_HANDSHAKES = Limit(
    "max_handshakes",
    "count",
    1000,
    1,
    "How many clients may be in their TLS handshake at once; further ones are refused.",
    "room for all clients of a restart, while those that stop half-way cannot take every place",
)
MAX_REFUSALS = Limit(
    "max_refusals",
    "count",
    64,
    0,
    "How many refused clients are being told that the server is busy; others are just closed.",
    "each keeps a descriptor for a moment, of those that are not clients'",
)
HANDSHAKE_TIMEOUT = Limit(
    "handshake_timeout",
    "seconds",
    10.0,
    0.001,
    "How long a client may take for its TLS handshake.",
    "a few round trips on the slowest network, and no longer for those who never finish",
)
PROXY_TIMEOUT = Limit(
    "proxy_timeout",
    "seconds",
    5.0,
    0.001,
    "How long a proxy may take for the PROXY header that begins a connection.",
    "a proxy sends it at once, so a lost packet and its repetition are all there is to wait for",
)
MESSAGE_TIMEOUT = Limit(
    "message_timeout",
    "seconds",
    30.0,
    0.001,
    "How long a client may take for one message, from its first byte to its last.",
    "a large message on a slow line; one that drips does not hold its buffer for ever",
    optional=True,
)
IDLE_TIMEOUT = Limit(
    "idle_timeout",
    "seconds",
    OFF,
    0.001,
    "How long a client may be idle: nothing received, nothing sent, nothing being handled.",
    "an idle client costs a kilobyte; one that is gone is found out by keepalive",
    optional=True,
)
WRITE_TIMEOUT = Limit(
    "write_timeout",
    "seconds",
    30.0,
    0.001,
    "How long a peer may take to read the next 16 KiB of what waits for it, or what is left.",
    "longer than any network's hiccup; a peer that reads byte by byte does not last for ever",
)
KEEPALIVE_IDLE = Limit(
    "keepalive_idle",
    "seconds",
    60,
    1,
    "How long a TCP connection is silent before the system asks whether the peer is there.",
    "sooner than firewalls forget a silent connection, rarely enough to cost nothing",
)
KEEPALIVE_INTERVAL = Limit(
    "keepalive_interval",
    "seconds",
    15,
    1,
    "How long the system waits for the answer before it asks again.",
    "longer than any round trip",
)
KEEPALIVE_COUNT = Limit(
    "keepalive_count",
    "count",
    4,
    1,
    "How many times the system asks in vain before it ends the connection.",
    "with the others, a peer that has vanished is gone within two minutes",
)
USER_TIMEOUT = Limit(
    "user_timeout",
    "seconds",
    OFF,
    0.001,
    "How long sent bytes may stay unacknowledged before the system ends the connection.",
    "the system gives up after a quarter of an hour; sooner where connections carry much pushing",
    optional=True,
)
DRAIN_TIMEOUT = Limit(
    "drain_timeout",
    "seconds",
    30.0,
    0.0,
    "How long stopping lets begun messages finish; then the rest is cut and listed.",
    "what supervisors allow a service by default to stop",
)
CLIENT_TIMEOUT = Limit(
    "timeout",
    "seconds",
    10.0,
    0.001,
    "How long to wait to connect, to send, and for each reply.",
    "longer than a reply takes, shorter than a person's patience",
)
RETRY_ATTEMPTS = Limit(
    "attempts",
    "count",
    10,
    1,
    "How many times a connection or a request is tried in all.",
    "with the back-offs they are given, they outlast a server that is started anew",
)
FIRST_BACKOFF = Limit(
    "first_backoff",
    "seconds",
    0.05,
    0.001,
    "How long the first back-off may be; it doubles with every further one.",
    "longer than a reconnect takes, and shorter than a person notices",
)
MAX_BACKOFF = Limit(
    "max_backoff",
    "seconds",
    2.0,
    0.001,
    "How long any back-off may be.",
    "a server that is back is not left waiting for its clients",
)
RETRY_BUDGET = Limit(
    "budget",
    "count",
    20,
    0,
    "How many retries every hundred requests may bring about.",
    "an outage makes a fifth more load, instead of ten times as much",
)
RETRY_RESERVE = Limit(
    "reserve",
    "count",
    100,
    1,
    "How many retries the budget begins with, and the most it can save.",
    "a handful of threads gets over one restart, though they asked little before",
)
POOL_SIZE = Limit(
    "pool",
    "count",
    1,
    1,
    "How many connections a pool may have at once.",
    "what retries alone ask for; how many requests are under way, only their sender knows",
)
POOL_IDLE = Limit(
    "pool_idle",
    "seconds",
    60.0,
    0.001,
    "How long a pool keeps a connection that nobody uses.",
    "bridges the pauses of a busy client, and ends before most proxies give a connection up",
    optional=True,
)
PIPELINE_WINDOW = Limit(
    "window",
    "count",
    1024,
    1,
    "How many requests of a pipeline may be unanswered.",
    "keeps a far server busy in bounded memory",
)
PIPELINE_BYTES = Limit(
    "pipeline_bytes",
    "bytes",
    1 << 20,
    1,
    "How many bytes of requests a pipeline holds unsent before its source waits.",
    "a few times what one write takes",
)
READ_SIZE = Limit(
    "read_size",
    "bytes",
    64 << 10,
    1,
    "The most bytes one read takes.",
    "enough for full speed, and below the size for which the allocator maps memory anew each time",
)
WRITE_PROGRESS = Limit(
    "write_progress",
    "bytes",
    16 << 10,
    1,
    "How many bytes a peer has to read, or all that waits, for write_timeout to begin anew.",
    "half a kilobyte a second, by default, which the slowest modem has",
)
LINGER_TIMEOUT = Limit(
    "linger_timeout",
    "seconds",
    1.0,
    0.0,
    "How long an ended connection goes on discarding what its peer still sends.",
    "closing with unread bytes resets the connection and destroys a last reply under way",
)
LINGER_BYTES = Limit(
    "linger_bytes",
    "bytes",
    16 << 20,
    0,
    "How many bytes are discarded so before the connection is reset after all.",
    "a peer that never stops sending is owed no more",
)
HANDOFF_AFTER = Limit(
    "handoff_after",
    "seconds",
    0.005,
    0.0005,
    "How long a handler may hold up the shared loop before its client gets a thread of its own.",
    "other clients do not notice so short a wait, and few quick handlers take as long",
)
QUIET_SECONDS = Limit(
    "quiet_seconds",
    "seconds",
    1.0,
    0.001,
    "How long a slow client's own thread waits for its next message before it lets go of it.",
    "keeps a busy client's thread, and costs no thread for one that asks now and then",
)
MAX_THREADS = Limit(
    "max_threads",
    "count",
    1000,
    1,
    "How many clients with slow handlers have threads of their own; further ones wait for one.",
    "bounds what blocking handlers can take of memory and of the machine",
)
SWITCH_INTERVAL = Limit(
    "switch_interval",
    "seconds",
    0.001,
    0.000001,
    "How long a thread that computes may keep the interpreter's lock while another waits for it.",
    "measured: lets quick clients through beside handlers that compute, and costs nothing else",
)
SLOW = Limit(
    "slow",
    "seconds",
    OFF,
    0.01,
    "How long a handler may be busy for a client before the log says so, and where it stands.",
    "how long is too long, only who wrote the handler can say",
    optional=True,
)
HIGH_WATER = Limit(
    "high_water",
    "bytes",
    256 << 10,
    1,
    "How many bytes of replies a client may have waiting in the shared loop.",
    "a full turn's replies, and little beside what the system itself holds for a connection",
)
SPARE_SECONDS = Limit(
    "spare_seconds",
    "seconds",
    10.0,
    0.0,
    "How long a thread without a client waits for one before it ends.",
    "keeps a busy server from starting threads, and an idle one from keeping them",
)
HANDOVER_TIMEOUT = Limit(
    "handover_timeout",
    "seconds",
    60.0,
    0.1,
    "How long a new process may hold the listening sockets before it says that it serves.",
    "time to load a large program; meanwhile no other one can take over",
)
ANSWER_TIMEOUT = Limit(
    "answer_timeout",
    "seconds",
    10.0,
    0.1,
    "How long a new process waits for the old one's answers.",
    "an answer takes milliseconds; from a process that is stuck none will come",
)
RELOAD_INTERVAL = Limit(
    "reload_interval",
    "seconds",
    10.0,
    0.001,
    "How often a server looks whether its certificates' files have changed.",
    "soon enough after a renewal, which comes weeks before the old ones expire",
)
ACCEPT_PAUSE = Limit(
    "accept_pause",
    "seconds",
    0.1,
    0.001,
    "How long accepting rests when descriptors, threads or memory are not to be had.",
    "quick enough to recover unnoticed, slow enough to cost no processor time",
)
JOIN_GRACE = Limit(
    "join_grace",
    "seconds",
    1.0,
    0.0,
    "How long closing waits for threads whose connections it has cut.",
    "a thread that was woken needs a moment; one that computes will not come",
)
LOG_QUEUE = Limit(
    "log_queue",
    "count",
    10_000,
    1,
    "How many log lines are held while whoever reads the log is slow.",
    "no client waits for a log; further lines are dropped and counted",
)
LOG_REPEATS = Limit(
    "log_repeats",
    "count",
    10,
    1,
    "How many lines of one kind, of warnings and errors, the command's log has in a second.",
    "enough to see what they have in common; a line with the count stands for the others",
)

LIMITS: dict[str, Limit] = {
    limit.name: limit for limit in list(globals().values()) if isinstance(limit, Limit)
}

DESCRIPTOR_RESERVE = 64  # listeners, logs, the handler's own files and sockets
ADMIN_DESCRIPTORS = 80  # the admin endpoint's connections, and what serves them
ADMIN_TLS_DESCRIPTORS = 272  # the same over TLS, with those that are at their handshake


def clients_for(descriptors: float) -> float:
    """How many clients so many descriptors have room for."""
    return max(1, descriptors - min(DESCRIPTOR_RESERVE, descriptors // 4))


def default_max_clients() -> int:
    """``max_clients`` where none is given: what descriptors allow, at most 10,000."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CLIENTS.whole
    return int(min(MAX_CLIENTS.whole, clients_for(soft)))
