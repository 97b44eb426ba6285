"""The metrics: what is declared is exposed, documented, and true."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_plain

import threadwire
from threadwire import CloseReason
from threadwire.admin.metrics import BUCKETS, METRICS, Exposition, documentation
from threadwire.snapshot import LimitUse, ServerSnapshot

from ..conftest import Serving
from ..support import Peer, eventually, reverse
from .conftest import Administering
from .snapshots import durations, snapshot
from .support import ask

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, which comes with Prometheus, is not there"
)

OPENMETRICS = "application/openmetrics-text"
# What Prometheus 3 sends.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.1"
)


def families(seen: ServerSnapshot) -> dict[str, Metric]:
    text, _ = Exposition(lambda: seen).render("")
    return {family.name: family for family in parse_plain(text.decode())}


def values(family: Metric) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_names_end_as_their_type_wants_and_are_declared_once() -> None:
    names = [declaration.name for declaration in METRICS]
    assert len(set(names)) == len(names)
    for declaration in METRICS:
        assert declaration.name.startswith("threadwire_")
        assert not declaration.name.endswith(("_total", "_info", "_count", "_sum", "_bucket"))
        assert declaration.help.endswith(".")


def test_what_is_counted_is_what_is_exposed() -> None:
    found = families(
        snapshot(
            accepted=1,
            refused={CloseReason.BUSY: 2},
            closed={CloseReason.CUT: 3},
            messages_received=4,
            messages_sent=5,
            bytes_received=6,
            bytes_sent=7,
            handoffs=8,
            turns=9,
            loops=10,
            opening=11,
            connections=12,
            own_threads=13,
            waiting=14,
            spare_threads=15,
            limits=(LimitUse("max_clients", 16, 17), LimitUse("max_threads", 18, math.inf)),
            certificates_expire_at=19.0,
        )
    )
    plain = {name: values(family).get(()) for name, family in found.items()}
    assert plain["threadwire_connections_accepted"] == 1
    assert values(found["threadwire_connections_refused"])[("busy",)] == 2
    assert values(found["threadwire_connections_closed"])[("cut",)] == 3
    assert plain["threadwire_messages_received"] == 4
    assert plain["threadwire_messages_sent"] == 5
    assert plain["threadwire_received_bytes"] == 6
    assert plain["threadwire_sent_bytes"] == 7
    assert plain["threadwire_handoffs"] == 8
    assert plain["threadwire_loop_turns"] == 9
    assert plain["threadwire_loops"] == 10
    assert plain["threadwire_connections_opening"] == 11
    assert plain["threadwire_connections"] == 12
    assert plain["threadwire_own_threads"] == 13
    assert plain["threadwire_own_thread_waiters"] == 14
    assert plain["threadwire_spare_threads"] == 15
    assert values(found["threadwire_limit"]) == {("max_clients",): 17, ("max_threads",): math.inf}
    assert values(found["threadwire_limit_used"]) == {("max_clients",): 16, ("max_threads",): 18}
    assert plain["threadwire_certificate_expiry_timestamp_seconds"] == 19
    assert plain["threadwire_start_time_seconds"] == 900


def test_every_reason_is_there_from_the_start() -> None:
    found = families(snapshot())
    closed = values(found["threadwire_connections_closed"])
    assert closed == {(reason.value,): 0.0 for reason in CloseReason}
    refused = values(found["threadwire_connections_refused"])
    assert set(refused) == {("busy",), ("address-busy",), ("denied",), ("no-capacity",)}
    assert set(refused.values()) == {0.0}


def test_one_phase_is_1() -> None:
    phases = values(families(snapshot(phase="draining"))["threadwire_phase"])
    assert phases.pop(("draining",)) == 1
    assert set(phases.values()) == {0.0}
    assert len(phases) == 5


def test_what_is_not_there_is_absent() -> None:
    found = families(snapshot(started_at=None))
    assert not found["threadwire_certificate_expiry_timestamp_seconds"].samples
    assert not found["threadwire_interpreter_lock_wait_seconds"].samples
    assert not found["threadwire_start_time_seconds"].samples


def test_a_histogram_has_round_bounds_and_counts_up() -> None:
    assert BUCKETS[:4] == (1e-5, 2.5e-5, 5e-5, 1e-4)
    assert BUCKETS[-4:] == (10.0, 25.0, 50.0, 100.0)
    seen = durations(1e-6, 1e-5, 0.003, 0.003, 99.0, 1000.0)
    family = families(snapshot(handler_seconds=seen))["threadwire_handler_duration_seconds"]
    buckets = {
        sample.labels["le"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    assert list(map(float, buckets)) == [*BUCKETS, math.inf]
    assert (buckets["1e-05"], buckets["0.0025"], buckets["0.005"]) == (2, 2, 4)
    assert (buckets["100"], buckets["+Inf"]) == (5, 6)
    others = {sample.name: sample.value for sample in family.samples if not sample.labels}
    assert others["threadwire_handler_duration_seconds_count"] == 6
    assert others["threadwire_handler_duration_seconds_sum"] == pytest.approx(seen.total)


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        ("", parse_plain),
        ("*/*", parse_plain),
        ("text/plain; version=abc", parse_plain),
        ("text/plain;version=0.0.4;q=nonsense,,;", parse_plain),
        (OPENMETRICS, parse_openmetrics),
        (f"{OPENMETRICS}; version=abc; escaping=\x7f", parse_openmetrics),
        (PROMETHEUS, parse_openmetrics),
    ],
)
def test_the_format_is_what_was_asked_for(
    accept: str, parse: Callable[[str], list[Metric]]
) -> None:
    text, content_type = Exposition(snapshot).render(accept)
    names = {family.name for family in parse(text.decode())}
    assert {declaration.name for declaration in METRICS} <= names | {"threadwire_build"}
    assert {"process_cpu_seconds", "process_open_fds", "process_start_time_seconds"} <= names
    assert content_type.startswith(
        f"{OPENMETRICS}; version=1.0.0" if parse is parse_openmetrics else "text/plain"
    )
    assert text.endswith(b"# EOF\n") is (parse is parse_openmetrics)


@needs_promtool
def test_promtool_has_nothing_to_say(serving: Serving, administering: Administering) -> None:
    text = ask(administering(serving(reverse)), "/metrics").body
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_server_s_own_traffic_is_what_its_metrics_tell(
    serving: Serving, administering: Administering
) -> None:
    server = serving(reverse)
    admin = administering(server)

    def seen() -> dict[str, dict[tuple[str, ...], float]]:
        text = ask(admin, "/metrics").body.decode()
        return {family.name: values(family) for family in parse_plain(text)}

    with Peer(server.address) as peer:
        peer.say(b"hello\n")
        assert peer.hear_line() == b"olleh\n"
        now = seen()
        assert now["threadwire_connections"] == {(): 1}
        assert now["threadwire_connections_accepted"] == {(): 1}
        assert now["threadwire_messages_received"] == {(): 1}
        assert now["threadwire_received_bytes"] == {(): 6}
    eventually(lambda: seen()["threadwire_connections_closed"][("peer-closed",)] == 1)
    now = seen()
    assert now["threadwire_connections"] == {(): 0}
    assert now["threadwire_messages_sent"] == {(): 1}
    assert now["threadwire_sent_bytes"] == {(): 6}
    assert ("max_clients",) in now["threadwire_limit"]
    assert now["threadwire_build_info"] == {
        next(key for key in now["threadwire_build_info"] if threadwire.__version__ in key): 1.0
    }


def test_the_documentation_s_table_is_that_of_the_declarations() -> None:
    assert documentation() in PAGE.read_text(), (
        "docs/metrics.md is not up to date; its table is what this prints: "
        "python -c 'from threadwire.admin.metrics import documentation; print(documentation())'"
    )


@needs_promtool
def test_promtool_understands_what_the_page_shows(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE.read_text())
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block.replace("/etc/prometheus", str(tmp_path)))
        (tmp_path / "threadwire.token").write_text("x")
        kind = "rules" if block.startswith("groups") else "config"
        subprocess.run(["promtool", "check", kind, file], check=True, capture_output=True)


def test_what_the_page_speaks_of_is_declared() -> None:
    declared = {d.name for d in METRICS}
    for name in re.findall(r"threadwire_\w+", PAGE.read_text()):
        assert re.sub("_(total|bucket|info)$", "", name) in declared, name
