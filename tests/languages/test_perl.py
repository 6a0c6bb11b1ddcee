from collections.abc import Callable

import pytest

from roles.problems.formats.dialects import Unparsed, perl
from roles.records import Test, Verdict
from tests.languages.toolchains import needs

pytestmark = needs("perl")
SUCCESSOR = (("f(1)", "result == '2'"), ("scalar(f(41))", "result == '42'"))


def status(verdict: Callable[..., Verdict], text: str) -> str:
    return verdict("perl", text, *SUCCESSOR).status


@pytest.mark.parametrize(
    "text",
    [
        "sub f { return $_[0] + 1 }",
        "use strict;\nuse warnings;\nmy $one = 1;\nsub f { my ($x) = @_; return $x + $one; }\n0;",
        "my $one = <DATA>;\nsub f { return $_[0] + $one }\n__DATA__\n1\n",
        "BEGIN { *CORE::GLOBAL::join = *CORE::GLOBAL::ref = sub { 0 } }\n$, = $\\ = $\" = 'x';\nsub f { $_[0] + 1 }",
    ],
)
def test_a_right_program_passes(text: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) == "passed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sub f { return $_[0] }", "failed"),
        ("sub f { return $_[0] +", "compile_error"),
        ("use Missing::Module; sub f { 1 }", "compile_error"),
        ("die 'no'", "runtime_error"),
        ("sub f { die bless {}, 'Problem' }", "runtime_error"),
        ("sub f { return 1 / 0 }", "runtime_error"),
        ("sub f { exit 3 }", "runtime_error"),
        ("sub f { kill 'SEGV', $$ }", "runtime_error"),
        ("sub g { 1 }", "failed"),
        ("sub f { 1 while 1 }", "timeout"),
        ("sub f { my @a; push @a, 'x' x 10000000 while 1 }", "memory"),
        ("sub f { print 'x' x 1000 while 1 }", "output"),
        ("sub f { return 'x' x (10 << 20) }", "output"),
        ("sub f { my @a; push @a, \\@a; return \\@a }", "output"),
    ],
)
def test_status_of(text: str, expected: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "exit 0;", "BEGIN { exit 0 }", "sub f { exit 0 }", "END { $? = 0 } die 'no'",
        "print 2; sub f { print $_[0] + 1 }",
        "package Any; use overload '\"\"' => sub { 2 }, 'eq' => sub { 1 }; package main; sub f { bless {}, 'Any' }",
        "$SIG{__DIE__} = sub { exit 0 }; sub f { die 'no' }", "sub f { return (2, 2) }", "sub f { return \\2 }",
        "open(my $r, '>&=', 3); print $r qq(x [-1,\"ok\"]\\nx [0,\"val\",[\"i\",\"2\"]]\\n); sub f { 1 }",
    ],
)  # fmt: skip
def test_a_cheat_does_not_pass(text: str, verdict: Callable[..., Verdict]) -> None:
    assert status(verdict, text) != "passed"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("[undef, 1, '1', 0, '', -5]", [None, "1", "1", "0", "", "-5"]),
        ("[1.5, 0.1 + 0.2, 1e15, 1e20, 1/3]", ["1.5", "0.3", "1e+15", "1e+20", "0.333333333333333"]),
        ("[18446744073709551615, 9**9**9, 1 == 1, 1 == 2]", ["18446744073709551615", "Inf", "1", ""]),
        ('["é\\n\\"\\\\\\0", "\\x{263a}"]', ['é\n"\\\0', "\u263a"]),
        ("[[], [1, [2]], {}, {a => 1, 2.0 => [{}]}]", [[], ["1", ["2"]], {}, {"a": "1", "2": [{}]}]),
        ("()", None),
        ("(1, 2)", ("1", "2")),
    ],
)
def test_values_cross_as_the_text_that_perl_prints(
    call: str, expected: object, verdict: Callable[..., Verdict]
) -> None:
    assert verdict("perl", "", (call, f"same(result, {expected!r})")).status == "passed"


@pytest.mark.parametrize("call", ["\\1", "sub { 1 }", "bless [], 'Some'", "qr/x/", "\\*STDOUT"])
def test_an_object_equals_nothing(call: str, verdict: Callable[..., Verdict]) -> None:
    assert verdict("perl", "", (call, "not result == result")).status == "passed"


def test_standard_input_to_standard_output(verdict: Callable[..., Verdict]) -> None:
    tests = [Test("41\n", "same_text(result, '42')", "stdio"), Test("1\n", "same_text(result, '3')", "stdio")]
    assert verdict("perl", "print <STDIN> + 1", *tests).tests == ("passed", "failed")


def test_deep_comparisons_are_read_as_calls() -> None:
    tests = r"""use Test::Deep;

sub testhumaneval {
    my $candidate = \&f;
        if(eq_deeply($candidate->([1, "a)"], undef),{"a" => [1.50, undef], "\$b" => 1e3})) {
        print "ok!" }else{
        exit 1;
        }
        if(eq_deeply($candidate->("x"),"")) {
        print "ok!" }else{
        exit 1;
        }
}

testhumaneval();
"""
    assert perl.multipl_e(tests, "f") == (
        Test('&f([1, "a)"], undef)', "same(result, {'a': ['1.5', None], '$b': '1000'})"),
        Test('&f("x")', "same(result, '')"),
    )


def mbxp(expected: str) -> tuple[Test, ...]:
    test = f"""

use Data::Compare;

my $arg00 = [1, 2];
my $arg01 = "b; $c";
my $x0 = f($arg00, $arg01);
my $v0 = {expected};
unless(Compare($x0, $v0)) {{
    die "Exception -- test case 0 did not pass.";
}}
"""
    return perl.mbxp(test, "f", "")


def test_compared_variables_are_read_as_a_scalar_call() -> None:
    call = 'do { my $arg00 = [1, 2]; my $arg01 = "b; $c"; scalar(&f($arg00, $arg01)) }'
    assert mbxp("[-3, 0.10]") == (Test(call, "same(result, ['-3', '0.1'])"),)


def test_a_function_named_like_one_of_the_language_is_the_programs(verdict: Callable[..., Verdict]) -> None:
    assert verdict("perl", "sub split { return $_[0] + 1 }", ("&split(1)", "result == '2'")).status == "passed"


@pytest.mark.parametrize("expected", ['"$c"', '"a@b.c"', "g(1)", "{[1] => 2}", '"\\x{1}"'])
def test_what_is_no_literal_is_not_read(expected: str) -> None:
    with pytest.raises(Unparsed):
        mbxp(expected)
