import pytest

from pycaffe_like.errors import ConfigError
from pycaffe_like.tools.flags import Flag, format_usage, parse_flags

SPEC = {
    "solver": Flag("", "solver file"),
    "iterations": Flag(50, "number of iterations"),
    "ratio": Flag(0.5, "a part"),
    "gray": Flag(False, "gray images"),
    "node": Flag(True, "begins with no"),
}


@pytest.mark.parametrize(
    "argv", [["-iterations", "7"], ["--iterations", "7"], ["-iterations=7"], ["--iterations=7"]]
)
def test_all_spellings_of_a_value(argv):
    values, positional = parse_flags(argv, SPEC)
    assert values == {"solver": "", "iterations": 7, "ratio": 0.5, "gray": False, "node": True}
    assert positional == []


@pytest.mark.parametrize(
    ("argument", "value"),
    [("-gray", True), ("--gray", True), ("-nogray", False), ("-gray=true", True), ("--gray=0", False)],
)
def test_all_spellings_of_a_switch(argument, value):
    assert parse_flags([argument, "x"], SPEC) == ({**parse_flags([], SPEC)[0], "gray": value}, ["x"])


def test_a_name_that_begins_with_no_is_itself():
    assert parse_flags(["-node"], SPEC)[0]["node"] is True
    assert parse_flags(["-nonode"], SPEC)[0]["node"] is False


def test_flags_and_arguments_mix():
    values, positional = parse_flags(["a", "-solver", "-x", "b", "-ratio=.25", "--", "-gray"], SPEC)
    assert (values["solver"], values["ratio"], positional) == ("-x", 0.25, ["a", "b", "-gray"])


def test_values_may_hold_equal_signs_and_the_last_one_counts():
    assert parse_flags(["-solver=a=b"], SPEC)[0]["solver"] == "a=b"
    assert parse_flags(["-solver=a", "-solver", "b"], SPEC)[0]["solver"] == "b"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-iteration", "5"], "unknown flag -iteration\n.*iterations"),
        (["-nosolver"], "unknown flag -nosolver"),
        (["-iterations"], "needs a value"),
        (["-iterations", "many"], "must be an int, got 'many'"),
        (["-ratio=x"], "must be a number, got 'x'"),
        (["-gray=maybe"], "must be true or false, got 'maybe'"),
        (["-zzzzzz"], "known flags: -solver"),
    ],
)
def test_mistakes_are_explained(argv, message):
    with pytest.raises(ConfigError, match=message):
        parse_flags(argv, SPEC)


def test_usage_names_every_flag():
    usage = format_usage("Do it.", "do [flags] FILE", SPEC)
    assert "usage: do [flags] FILE" in usage
    assert all(f"-{name} (" in usage for name in SPEC)
