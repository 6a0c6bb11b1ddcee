"""Closing what a completion left open."""

import pytest

from roles.languages.braces import close


@pytest.mark.parametrize(
    ("text", "closers"),
    [
        ("int f() {\n  return 1;", "}"),
        ("class P { static int f() { if (x) { g(", ")}}}"),
        ("f([{", "}])"),
        ("int f() { return 1; }", ""),
        ('s = "{"; t = "\\"{"; {', "}"),
        ("// don't {\n{ /* ( */", "}"),
        ("x = `{ ${y}`; {", "}"),
        ("f({ a: /[({]\\/(/, b: 1 / 2 })", ""),
        ("'it\\'s {' + {", "}"),
        ("}} {", "}"),
        ("", ""),
    ],
)
def test_appends_what_closes_the_open_brackets(text, closers):
    closed = close(text)
    assert closed == (f"{text}\n{closers}\n" if closers else text)


def test_a_character_is_no_string():
    assert close("fn f<'a>(x: &'a str) -> char { '{'", characters=True).endswith("'{'\n}\n")
    assert close("char c = '\\''; int n = 1'000'000; {", characters=True).endswith("{\n}\n")


def test_comments_of_other_languages():
    assert close("sub f { # it's {\n  1;", comments=("#",)).endswith("1;\n}\n")


def test_a_closer_never_lands_in_a_comment():
    assert close("{ // done") == "{ // done\n}\n"


def test_raw_strings_over_several_lines():
    assert close('f(R"(a\nb)"); {', characters=True).endswith("{\n}\n")


@pytest.mark.parametrize("piece", ["'\\", '"\\', "(/[", '"""', "'", "`", "/*", "(\\", "{", "=/"])
def test_no_text_takes_more_than_linear_time(piece):
    close(piece * 100_000)
    close(piece * 100_000, characters=True)
