"""What was asked for, in words; made from a result's plan, so that a saved one can tell, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..units import format_duration
from .amounts import rate_words

__all__ = ["described", "differences", "load_words", "messages_words", "several", "time_words"]

# What a plan's fields are called where they are listed; those left out tell too little.
_NAMES = {
    "url": "service",
    "framing": "framing",
    "loop": "loop",
    "rate": "messages/s asked for",
    "arrivals": "arrivals",
    "clients": "clients",
    "pipeline": "in flight per client",
    "connect_each": "a connection for every message",
    "messages": "messages",
    "expect": "right reply",
    "duration": "measured for",
    "requests": "requests at most",
    "ramp": "ramp",
    "warmup": "warm-up",
    "processes": "generating processes",
    "timeout": "timeout",
    "seed": "seed",
}
_DURATIONS = {"duration", "ramp", "warmup", "timeout"}


def load_words(plan: Mapping[str, Any]) -> str:
    """How the load comes: how many clients, in which loop."""
    clients = several(plan.get("clients", 0), "client")
    pipeline = plan.get("pipeline", 1)
    if plan.get("rate") is not None:
        gaps = "at random (Poisson)" if plan.get("arrivals") == "poisson" else "evenly"
        words = f"{rate_words(plan['rate'])} messages/s due, {gaps}, over {clients} (open loop)"
        if pipeline != 1:
            words += f", at most {pipeline} in flight each"
    else:
        words = f"{clients}, {pipeline} in flight each (closed loop)"
    if plan.get("connect_each"):
        words += ", a connection for every message"
    if plan.get("processes", 1) != 1:
        words += f", from {plan['processes']} processes"
    return words


def messages_words(plan: Mapping[str, Any]) -> str:
    """What is sent, and what has to come back."""
    expect = plan.get("expect")
    right = "any reply is right" if expect == "any" else f"right reply: {expect}"
    return f"{plan.get('messages')}; framing: {plan.get('framing')}; {right}"


def time_words(plan: Mapping[str, Any], seconds: float) -> str:
    """How long was measured, and what came before."""
    before = [
        f"{format_duration(plan[name])} of {words}"
        for name, words in (("ramp", "ramp"), ("warmup", "warm-up"))
        if plan.get(name)
    ]
    if not seconds:
        return "nothing was measured"  # it was interrupted before
    words = f"{format_duration(seconds)} measured"
    return f"{words} after {' and '.join(before)}" if before else words


def described(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every field that says something, by the name it has for people."""
    return [
        (name, _value_words(field, plan[field]))
        for field, name in _NAMES.items()
        if _says_something(field, plan.get(field))
    ]


def differences(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[str]:
    """In what two plans differ; figures of different loads say little about each other."""
    return [
        f"{name}: {_value_words(field, earlier.get(field))}, "
        f"now {_value_words(field, now.get(field))}"
        for field, name in _NAMES.items()
        if now.get(field) != earlier.get(field)
    ]


def _says_something(field: str, value: object) -> bool:
    if value is None or value is False:
        return False
    return field not in _DURATIONS or bool(value)


def several(number: int, noun: str) -> str:
    """``1 client``, ``2,000 clients``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _value_words(field: str, value: object) -> str:
    if value is None or value is False:
        return "none"
    if value is True:
        return "yes"
    if isinstance(value, int | float):
        if field in _DURATIONS:
            return format_duration(value)
        if field == "rate":
            return rate_words(value)
        return str(value) if field == "seed" else f"{value:,}"
    return str(value)
