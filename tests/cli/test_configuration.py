"""Where settings come from: what goes before what, and what is told of what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadwire.cli.configuration import (
    DEFAULT,
    DEFAULT_FILE,
    Configuration,
    ConfigurationError,
    Sources,
)
from threadwire.cli.options import given_settings
from threadwire.cli.serve import serve
from threadwire.kinds import BOOLEAN
from threadwire.settings import SETTINGS, Setting

from ..values_of_settings import in_toml, on_command_line, values_of

every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options_of(*arguments: str) -> dict[str, Any]:
    """What the arguments of ``threadwire serve`` say."""
    return given_settings(serve.make_context("serve", list(arguments)))


def load(
    *arguments: str, config: str | None = None, environ: Mapping[str, str] | None = None
) -> Configuration:
    return Sources(options_of(*arguments), config, environ or {}).load()


def problems(
    *arguments: str, config: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(*arguments, config=config, environ=environ)
    return caught.value.problems


def write(text: str, name: str = "app.toml") -> str:
    Path(name).write_text(text)
    return name


# What goes before what.


@every_setting
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_each_place_goes_before_those_below_it(setting: Setting, data: st.DataObject) -> None:
    """And gives the same value, since those that are drawn are the ones that are read."""
    values = [data.draw(values_of(setting)) for _ in range(4)]
    name = setting.name
    default_file, file, variable, option = values
    Path(DEFAULT_FILE).unlink(missing_ok=True)
    found = load()
    assert (found[name], found.origin(name)) == (setting.default, DEFAULT)
    assert found.keywords() == {}

    write(f"[serve]\n{name} = {in_toml(setting, default_file)}\n", DEFAULT_FILE)
    found = load()
    assert (found[name], found.origin(name)) == (default_file, f"./threadwire.toml:{name}")
    assert found.keywords() == ({name: default_file} if setting.keyword else {})

    config = write(f"[serve]\n{name} = {in_toml(setting, file)}\n")
    found = load(config=config)
    assert (found[name], found.origin(name)) == (file, f"app.toml:{name}")

    environ = {setting.variable: setting.show(variable)}
    found = load(config=config, environ=environ)
    assert (found[name], found.origin(name)) == (variable, setting.variable)

    found = load(*on_command_line(setting, option), config=config, environ=environ)
    assert (found[name], found.origin(name)) == (option, setting.option)
    assert found.is_given(name)
    assert found.keywords() == ({name: option} if setting.keyword else {})


def test_each_setting_is_looked_for_by_itself() -> None:
    write("[serve]\nbacklog = 1\nmax_clients = 1\nmax_threads = 1\nhigh_water = 1", DEFAULT_FILE)
    config = write("[serve]\nmax_clients = 2\nmax_threads = 2\nhigh_water = 2\n")
    environ = {"THREADWIRE_MAX_THREADS": "3", "THREADWIRE_HIGH_WATER": "3"}
    found = load("--high-water", "4", config=config, environ=environ)
    names = ["backlog", "max_clients", "max_threads", "high_water", "max_refusals"]
    assert [found[name] for name in names] == [1, 2, 3, 4, SETTINGS["max_refusals"].default]


def test_lists_are_not_joined() -> None:
    config = write("[serve]\ndeny = ['192.0.2.0/24']\n")
    assert load("--deny", "::1", config=config)["deny"] == ("::1/128",)
    assert load("--deny", "off", config=config)["deny"] == ()
    assert load("--deny", "::1", "--deny", "::2")["deny"] == ("::1/128", "::2/128")


def test_the_same_file_twice_is_read_once() -> None:
    write("[serve]\nmax_client = 5\n", DEFAULT_FILE)
    assert len(problems(config="threadwire.toml")) == 1


def test_units_in_files() -> None:
    config = write(
        "[serve]\nidle_timeout = '2m'\nwrite_timeout = 7\nmax_message = '64KiB'\n"
        "high_water = 1_000\naccept_rate = '20/s'\nmax_clients = '10,000'\n"
        "message_timeout = inf\nallow = '::1 ::2'\nbusy_reply = 'später'\n"
    )
    found = load(config=config)
    assert found.keywords() == {
        "idle_timeout": 120,
        "write_timeout": 7,
        "max_message": 65536,
        "high_water": 1000,
        "accept_rate": 20,
        "max_clients": 10_000,
        "message_timeout": None,
        "allow": ("::1/128", "::2/128"),
        "busy_reply": "später".encode(),
    }


def test_a_path_in_a_file_is_relative_to_the_file(elsewhere: Path) -> None:
    (elsewhere / "etc").mkdir()
    config = write("[serve]\ntls_cert = 'cert.pem'\ntls_key = '/key.pem'\n", "etc/app.toml")
    sources = Sources({"tls_client_ca": "ca.pem"}, config, {})
    (elsewhere / "etc" / "deep").mkdir()
    os.chdir("etc/deep")
    found = sources.load()
    assert found["tls_cert"] == str(elsewhere / "etc" / "cert.pem")
    assert found["tls_key"] == "/key.pem"
    assert found["tls_client_ca"] == "ca.pem"


def test_off_is_no_path() -> None:
    assert load(config=write("[serve]\ntls_cert = 'off'\n"))["tls_cert"] is None


def test_the_sources_may_be_read_again() -> None:
    write("[serve]\nmax_clients = 5\ndrain_timeout = 1\n", DEFAULT_FILE)
    environ = {"THREADWIRE_MAX_THREADS": "3"}
    sources = Sources({"backlog": "7"}, None, environ)
    before = sources.load()
    assert before.changed(sources.load()) == []
    write("[serve]\nmax_clients = 6\nbacklog = 8\n", DEFAULT_FILE)
    environ["THREADWIRE_MAX_THREADS"] = "4"
    after = sources.load()
    assert [setting.name for setting in before.changed(after)] == [
        "max_clients",
        "drain_timeout",
        "max_threads",
    ]
    write("[serve]\nmax_clients = 0\n", DEFAULT_FILE)
    with pytest.raises(ConfigurationError):
        sources.load()


def test_a_current_directory_that_is_no_more(elsewhere: Path) -> None:
    gone = elsewhere / "gone"
    gone.mkdir()
    config = elsewhere / "app.toml"
    config.write_text("[serve]\nbacklog = 5\n")
    os.chdir(gone)
    gone.rmdir()
    assert load()["backlog"] == SETTINGS["backlog"].default
    assert load(config=str(config))["backlog"] == 5


# What is wrong.


@every_setting
def test_what_is_wrong_is_told_with_its_place(setting: Setting) -> None:
    name = setting.name
    assert_one(problems(environ={setting.variable: ""}), rf"{setting.variable}: .+")
    file = write(f"[serve]\n{name} = 2026-11-23\n")
    assert_one(problems(config=file), rf"app\.toml: {name}\b.+datetime\.date\(2026, 11, 23\).*")
    write(f"[serve]\n{name} = ''\n", DEFAULT_FILE)
    assert_one(problems(), rf"\./threadwire\.toml: {name}\b.+")
    Path(DEFAULT_FILE).unlink()
    if setting.argument:
        assert_one(problems(""), r"MODULE:HANDLER: .+")
    elif setting.kind is not BOOLEAN:  # whose options take no value
        assert_one(problems(f"{setting.option}="), rf"{setting.option}: .+")


def assert_one(found: tuple[str, ...], pattern: str) -> None:
    (problem,) = found
    assert re.fullmatch(pattern, problem), problem
    assert not re.match(r"(\S+): \1: ", problem)


def test_all_that_is_wrong_is_told() -> None:
    write("[serve]\nbacklog = 0\nmax_client = 5\n", DEFAULT_FILE)
    environ = {"THREADWIRE_PIN": "perhaps", "THREADWIRE_ALLOWED": "::1"}
    assert problems("--listen", "localhost", environ=environ) == (
        "./threadwire.toml: backlog must be at least 1 items, not 0",
        "./threadwire.toml: max_client: there is no such setting; do you mean max_clients?",
        "THREADWIRE_ALLOWED: there is no such variable; do you mean THREADWIRE_ALLOW?",
        "THREADWIRE_PIN: 'perhaps' is neither true nor false",
        "--listen: address 'localhost': no scheme; write tcp://HOST:PORT, tcp://:PORT (all "
        "interfaces), tls://HOST:PORT, unix:///PATH, fd://NUMBER or fd://NAME",
    )


def test_what_is_wrong_is_told_also_where_something_goes_before_it() -> None:
    config = write("[serve]\nbacklog = 0\n")
    assert len(problems("--backlog", "5", config=config)) == 1


@every_setting
def test_a_letter_too_few(setting: Setting) -> None:
    """The nearest name may be another one, as for ``tls_ca``; but there is one."""
    wrong = setting.name[:-1]
    (problem,) = problems(config=write(f"[serve]\n{wrong} = 1\n"))
    assert re.fullmatch(rf"app\.toml: {wrong}: .+; do you mean {setting.name}\?", problem)
    (problem,) = problems(environ={f"THREADWIRE_{wrong.upper()}": "1"})
    assert problem.endswith(f"; do you mean {setting.variable}?")


def test_dashes_are_no_underscores() -> None:
    (problem,) = problems(config=write("[serve]\nmax-clients = 1\n"))
    assert problem.endswith("; do you mean max_clients?")


def test_what_is_like_nothing() -> None:
    (problem,) = problems(config=write("[serve]\nxyz = 1\n"))
    assert problem == ("app.toml: xyz: there is no such setting; threadwire check --show lists all")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_clients = 5", "max_clients: it belongs below [serve]"),
        ("[server]", "server: there is no such table; settings stand below [serve]"),
        ("serve = 5", "serve must be a table: [serve], and the settings below it"),
        ("[serve.tls]\ncert = 'a'", "tls: there is no such setting; do you mean tls_key?"),
        ('[serve]\n"a\\nb" = 1', r'"a\nb": there is no such setting'),
        ("[serve\n", "Expected ']' at the end of a table declaration (at line 1, column 7)"),
        ("[serve]\nbacklog = 1\nbacklog = 2\n", "Cannot overwrite a value (at line 3, column 12)"),
        ("[serve]\n\nbacklog", "after a key in a key/value pair (at line 3, the end)"),
        ("[serve]\nbacklog = 1_000_", "(at line 2, column 16)"),
        ("[serve]\nallow = [" + "[" * 10_000, "it is nested too deeply"),
        ("[serve]\nbacklog = " + "9" * 5000, "Exceeds the limit"),
    ],
)
def test_a_file_that_is_wrong(text: str, told: str) -> None:
    (problem,) = problems(config=write(text))
    assert problem.startswith("app.toml: ")
    assert told in problem


def test_a_file_that_is_no_text() -> None:
    Path("app.toml").write_bytes(b"[serve]\n\nbacklog = '\xff'\n")
    assert problems(config="app.toml") == ("app.toml: it is not UTF-8 (at line 3)",)


@settings(max_examples=200, deadline=None)
@given(text=st.text() | st.binary() | st.text("[]serv=\n\"'#.1-{}, "))
def test_any_file_is_read_or_told_of(text: str | bytes) -> None:
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    Path("app.toml").write_bytes(data)
    found, told = Sources({}, "app.toml", {}).read()
    assert isinstance(found, Configuration)
    assert all(problem.startswith("app.toml: ") for problem in told)


def test_files_that_cannot_be_read(elsewhere: Path) -> None:
    assert problems(config="no.toml") == ("no.toml: cannot read it: no such file or directory",)
    assert problems(config=".") == (".: cannot read it: is a directory",)
    Path(DEFAULT_FILE).mkdir()
    assert problems() == ("./threadwire.toml: cannot read it: is a directory",)


# Variables of other kinds.


def test_variables_that_are_read_elsewhere_are_known() -> None:
    names = set()
    for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/*.py"), ROOT / "setup.py"]:
        if path.name != "configuration.py":
            names |= set(re.findall(r"""environ\S*["'](THREADWIRE_\w+)""", path.read_text()))
    assert {"THREADWIRE_PURE", "THREADWIRE_STRESS"} <= names
    assert load(environ=dict.fromkeys(names, "")).keywords() == {}


def test_what_kubernetes_says_of_a_service_called_threadwire() -> None:
    address = "tcp://10.0.0.1:12345"
    environ = {
        "THREADWIRE_SERVICE_HOST": "10.0.0.1",
        "THREADWIRE_SERVICE_PORT": "12345",
        "THREADWIRE_SERVICE_PORT_LINES": "12345",
        "THREADWIRE_PORT": address,
        "THREADWIRE_PORT_12345_TCP": address,
        "THREADWIRE_PORT_12345_TCP_PROTO": "tcp",
        "THREADWIRE_PORT_12345_TCP_PORT": "12345",
        "THREADWIRE_PORT_12345_TCP_ADDR": "10.0.0.1",
        "THREADWIRE_BACK_END_SERVICE_HOST": "10.0.0.1",
        "THREADWIRE_BACK_END_PORT": address,
    }
    assert load(environ=environ).keywords() == {}
    told = problems(environ={"THREADWIRE_PORT": "12345", "THREADWIRE_HOST": "10.0.0.1"})
    assert [problem.partition(":")[0] for problem in told] == [
        "THREADWIRE_HOST",
        "THREADWIRE_PORT",
    ]


def test_variables_of_others_are_nobodys_business() -> None:
    assert load(environ={"THREADWIRES_X": "", "PATH": "", "threadwire_x": ""}).keywords() == {}


# The options.


def test_only_what_stands_on_the_command_line_is_given() -> None:
    assert options_of() == {}
    assert options_of("-l", "tcp://:1", "--no-pin", "app:handle", "--allow=::1") == {
        "handler": "app:handle",
        "listen": ["tcp://:1"],
        "allow": ["::1"],
        "pin": False,
    }


def test_the_help_has_every_option_below_its_groups_heading() -> None:
    help_text = serve.get_help(serve.make_context("serve", []))
    sections = dict(re.findall(r"(?ms)^([A-Z][\w ]+):\n(.*?)(?=^\S|\Z)", help_text))
    assert list(sections) == [
        *dict.fromkeys(setting.group for setting in SETTINGS.values()),
        "Other options",
    ]
    for setting in SETTINGS.values():
        if not setting.argument:
            assert re.search(rf"(?m)^  (-\w, )?{setting.option}\b(?!-)", sections[setting.group]), (
                setting.name
            )
    columns = {
        match.start(1)
        for line in help_text.splitlines()
        if (match := re.match(r"  -\S.{1,28}\S  +(\S)", line))
    }
    assert columns == {34}


def test_help_loads_nothing_that_it_does_not_need() -> None:
    script = (
        "import sys; sys.argv = ['threadwire', 'serve', '--help']\n"
        "from threadwire.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "threadwire.settings" in loaded
    assert not loaded & {"ssl", "tomllib", "difflib", "ipaddress"}
