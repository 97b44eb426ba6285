"""Every setting: that its declaration is whole, and what it has in common with a Server."""

from __future__ import annotations

import datetime
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire import UsageError
from threadwire.kinds import BOOLEAN, FRAMING
from threadwire.limits import LIMITS
from threadwire.networks import Networks
from threadwire.options import CHANGEABLE, Options, ServerOptions
from threadwire.settings import SETTINGS, Setting

from .values_of_settings import values_of

every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)

# Limits that are no server's to set: the client's, and those that only the library knows.
NOT_SETTINGS = {
    "accept_pause",
    "answer_timeout",
    "attempts",
    "budget",
    "first_backoff",
    "handover_timeout",
    "join_grace",
    "linger_bytes",
    "linger_timeout",
    "log_queue",
    "log_repeats",
    "max_backoff",
    "pipeline_bytes",
    "pool",
    "pool_idle",
    "quiet_seconds",
    "read_size",
    "reload_interval",
    "reserve",
    "spare_seconds",
    "timeout",
    "window",
    "write_progress",
}
TLS_FILES = {"tls_cert", "tls_key", "tls_client_ca"}  # which are read again


@every_setting
def test_a_declaration_is_whole(setting: Setting) -> None:
    assert SETTINGS[setting.name] is setting
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", setting.name)
    assert re.fullmatch(r"[A-Z].*\.", setting.help), "a sentence"
    assert re.fullmatch(r"[a-z].*[^.]", setting.reason), "half a sentence"


def test_the_settings_of_a_group_stand_together() -> None:
    groups = [group for group, _ in itertools.groupby(SETTINGS.values(), lambda s: s.group)]
    assert len(groups) == len(set(groups))


@every_setting
def test_the_default_is_a_value(setting: Setting) -> None:
    if setting.default is None and not setting.optional:
        assert setting.shown, "what holds then has to be said"
    else:
        assert setting.check(setting.default) == setting.default
        assert setting.read(setting.show(setting.default)) == setting.default


def test_every_limit_of_a_server_is_a_setting() -> None:
    assert set(LIMITS) - set(SETTINGS) == NOT_SETTINGS


def test_what_a_server_takes_is_a_setting_and_the_other_way_round() -> None:
    keywords = {name for name, setting in SETTINGS.items() if setting.keyword}
    assert keywords == set(ServerOptions.__annotations__) - {
        "clock",
        "on_connection",
        "on_message",
        "tls_context",
    }


def test_what_a_server_can_change_while_it_serves_may_be_reloaded() -> None:
    reloadable = {name for name, setting in SETTINGS.items() if setting.reloadable}
    assert reloadable == CHANGEABLE | TLS_FILES | {"log_level"}


@every_setting
def test_the_declared_default_is_a_servers(setting: Setting) -> None:
    if not setting.keyword or setting.name == "pin":  # which only the command turns on
        return
    given, none = Options({setting.name: setting.default}), Options({})
    differing = {name for name, value in _plain(given).items() if value != _plain(none)[name]}
    assert differing <= {"threads_limited"}, "whether max_threads holds for sessions as well"


def _plain(options: Options) -> dict[str, object]:
    """What can be compared."""
    fields = {**vars(options), "max_clients": None}  # which is, by default, what there is room for
    return {
        name: value.texts if isinstance(value, Networks) else value
        for name, value in fields.items()
        if isinstance(value, int | float | str | tuple | bytes | None | Networks)
    }


@every_setting
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_is_shown_is_read_back(setting: Setting, data: st.DataObject) -> None:
    value = data.draw(values_of(setting))
    assert setting.check(value) == value
    assert setting.read(value) == value or isinstance(value, str)
    assert setting.read(setting.show(value)) == value


@every_setting
@pytest.mark.parametrize("given", ["", "\N{SNOWMAN}", datetime.date(2026, 11, 23), {"a": 1}])
def test_what_is_wrong_names_the_setting(setting: Setting, given: object) -> None:
    if given == "\N{SNOWMAN}" and setting.name in {
        "admin_token_file",
        "busy_reply",
        "handler",
        "takeover",
        "tls_cert",
        "tls_client_ca",
        "tls_key",
    }:
        return
    with pytest.raises(UsageError) as caught:
        setting.read(given)
    assert re.match(rf"{setting.name}\b", str(caught.value))
    assert str(caught.value).endswith("; or write off") == setting.optional


@every_setting
def test_off(setting: Setting) -> None:
    if setting.optional:
        nothing = () if setting.many else None
        assert setting.read("off") == nothing
        assert setting.read(["off"]) == nothing
        assert setting.read(None) == nothing
        assert setting.show(nothing) == "off"
    elif setting.kind is BOOLEAN:
        assert setting.read("off") is False
    elif setting.name != "handler":
        with pytest.raises(UsageError):
            setting.read("off")


def test_a_limit_that_is_infinite_is_off() -> None:
    assert SETTINGS["idle_timeout"].read(float("inf")) is None


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8,::1", "10.0.0.0/8 ::1", "10.0.0.0/8, ::1", " 10.0.0.0/8\n::1,\n"]
)
def test_a_list_is_separated_by_commas_or_spaces(text: str) -> None:
    assert SETTINGS["allow"].read(text) == ("10.0.0.0/8", "::1/128")


def test_off_stands_alone_in_a_list() -> None:
    with pytest.raises(UsageError, match=r"^allow: 'off' is not a network"):
        SETTINGS["allow"].read(["off", "10.0.0.0/8"])


def test_no_place_to_listen_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^listen: the list is empty$"):
        SETTINGS["listen"].read([])


def test_a_list_is_no_single_value_and_the_other_way_round() -> None:
    with pytest.raises(UsageError, match=r"^allow: 7 is not a list; or write off$"):
        SETTINGS["allow"].read(7)
    with pytest.raises(UsageError, match=r"^max_clients must be a number of items, not \[7\]$"):
        SETTINGS["max_clients"].read([7])


def test_how_a_setting_is_called() -> None:
    setting = SETTINGS["max_clients_per_ip"]
    assert setting.option == "--max-clients-per-ip"
    assert setting.variable == "THREADWIRE_MAX_CLIENTS_PER_IP"
    assert SETTINGS["handler"].option == "MODULE:HANDLER"
    assert SETTINGS["proxy_protocol"].metavar == "required|optional|off"
    assert SETTINGS["overload"].metavar == "wait|refuse"
    assert SETTINGS["framing"].metavar == FRAMING.metavar
