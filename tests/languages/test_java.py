"""Java programs, compiled and run in jails."""

from typing import Any

import pytest

from roles import languages
from roles.records import Problem, Test
from roles.sandbox.limits import Limits
from tests.languages.toolchains import needs

pytestmark = needs("java")

PROGRAM = """
import java.util.*;
import org.javatuples.*;

class Problem {
    static class Node { int value; Node next; }
    enum Color { RED }

    static Object echo(Object value) { return value; }
    static int twice(int x) { System.out.println("noise"); return 2 * x; }
    static Object values(int which) {
        List<Object> list = new ArrayList<>();
        switch (which) {
            case 0: return Arrays.asList(true, 1, 2L, (short) 3, (byte) -4, Long.MIN_VALUE, new java.math.BigInteger("-123456789012345678901234567890"));
            case 1: return new double[] {0.1, -0.0, 1e308, Double.NaN, Double.NEGATIVE_INFINITY, 5e-324, 0.1f};
            case 2: return new Object[] {"a\\"\\\\\\n\\u00e9\\ud83d\\ude00\\ud800\\u0000", 'c', "", null, Optional.of(1), Optional.empty()};
            case 3: return Map.of("k", new int[][] {{1}, {}}, "l", Set.of(1, 2));
            case 4: return Arrays.asList(Pair.with(1, "a"), new Triplet<>(1, 2, Unit.with(3.5)), new ArrayDeque<>(List.of(1)));
            case 5: return Set.of(List.of(1, 2), List.of());
            case 6: return new Object[] {new Node(), Color.RED, new Object(), new StringBuilder("x")};
            case 7: for (Object inner = list; inner != null && list.size() < 1; ) list.add(inner); return list;
            case 8: return new int[300000];
            default: return new String(new char[which]).replace('\\0', 'x');
        }
    }
    static int recurse(int x) { return recurse(x + 1) + 1; }
    static Object eat() { List<long[]> all = new ArrayList<>(); while (true) all.add(new long[1 << 20]); }
    static int raise() { throw new IllegalStateException("why"); }
    static int leave(int status) { Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("bye"))); System.exit(status); return 4; }
    static int thread() { new Thread(() -> { while (true) { } }).start(); return 4; }
    static int spin() { for (int i = 0; ; i++) if (i == -1 && i > 0) return 4; }
    static int sleep() throws Exception { Thread.sleep(100000); return 4; }
    static int print() { while (true) System.out.println("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); }
}
"""  # noqa: E501


def test_values_of_every_type_come_back_exactly(verdict):
    checks = [
        "same(result, [True, 1, 2, 3, -4, -2**63, -123456789012345678901234567890])",
        "same(result, [0.1, 0.0, 1e308, math.nan, -math.inf, 5e-324, float('0.10000000149011612')])",
        "result == ['a\"\\\\\\n\u00e9\U0001f600\\ud800\\x00', 'c', '', None, 1, None]",
        "result == {'k': [[1], []], 'l': {1, 2}}",
        "result == [(1, 'a'), (1, 2, (3.5,)), [1]]",
        "result == {(1, 2), ()}",
    ]
    tests = [(f"Problem.values({index})", check) for index, check in enumerate(checks)]
    tests.append(("Problem.values(1)", "str(result[1]) == '-0.0'"))
    assert verdict("java", PROGRAM, *tests).tests == ("passed",) * len(tests)


def test_what_is_no_plain_value_equals_nothing_and_large_ones_are_refused(verdict):
    tests = [(f"Problem.values({index})", "result[0] == result[0]") for index in (6, 7, 8, 5000000)]
    assert verdict("java", PROGRAM, *tests).tests == ("failed", "output", "output", "output")


def test_calls_that_go_wrong_are_told_apart_and_others_still_count(verdict):
    tests = [
        ("Problem.twice(2)", "result == 4"), ("Problem.twice(2)", "result == 5"), ("Problem.raise()", "result == 4"),
        ("Problem.recurse(0)", "result == 4"), ("Problem.eat()", "result == 4"), ("Problem.thread()", "result == 4"),
        ("Problem.echo(new ArrayList<>(Arrays.asList(1L)))", "result == [1]"),
    ]  # fmt: skip
    expected = ("passed", "failed", "runtime_error", "runtime_error", "memory", "passed", "passed")
    assert verdict("java", PROGRAM, *tests).tests == expected


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("Problem.leave(0)", "failed"), ("Problem.leave(3)", "runtime_error"), ("Problem.spin()", "timeout"),
        ("Problem.sleep()", "timeout"), ("Problem.print()", "output"), ("Problem.missing()", "compile_error"),
    ],
)  # fmt: skip
def test_a_call_that_ends_everything(verdict, call, status):
    assert verdict("java", PROGRAM, (call, "result == 4")).status == status


def test_standard_input_and_output(verdict):
    text = """
    import java.util.*;
    /* class Wrong { public static void main( */
    class Helper { static String text = "class No {"; }
    public class Solution {
        static class Inner { }
        public static void main(String[] args) {
            Scanner in = new Scanner(System.in);
            int n = in.nextInt();
            if (n == 7) System.exit(7);
            if (n == 8) Runtime.getRuntime().halt(139);
            if (n == 9) throw new RuntimeException();
            if (n == 10) { byte[][] all = new byte[1000][]; for (int i = 0; i < 1000; i++) all[i] = new byte[1 << 22]; }
            System.out.println(n * 2);
        }
    }
    """
    inputs = [("2", "4"), ("2", "5"), ("7", "14"), ("8", "16"), ("9", "18"), ("10", "20")]
    tests = [Test(given, f"same_tokens(result, {wanted!r})", "stdio") for given, wanted in inputs]
    expected = ("passed", "failed", "runtime_error", "runtime_error", "runtime_error", "memory")
    assert verdict("java", text, *tests).tests == expected


@pytest.mark.parametrize("text", ["", "class Problem { int", "// only a comment", "\ud800", "int f() { return 1; }"])
def test_a_text_that_is_no_program(verdict, text):
    assert verdict("java", text, ("Problem.f()", "result == 1")).status == "compile_error"


CHEATS = {
    "leaves while its class is loaded":
        "class P { static { Runtime.getRuntime().halt(0); } static int f() { return 0; } }",
    "raises while its class is loaded":
        "class P { static { if (true) throw new Error(); } static int f() { return 42; } }",
    "prints what is expected": 'class P { static int f() { System.out.println("[0, \\"val\\", 42]"); return 0; } }',
    "writes a frame of its own": """class P { static int f() throws Exception {
        new java.io.FileOutputStream("/proc/self/fd/3").write("[0, \\"val\\", [\\"j\\", \\"42\\"]]\\n".getBytes());
        Runtime.getRuntime().halt(0); return 0; } }""",
    "a value that is equal to all": """class P { static Object f() { return new Object() {
        public boolean equals(Object other) { return true; } public String toString() { return "42"; } }; } }""",
    "a number that prints as another": """class P { static Object f() { return new java.math.BigInteger("0") {
        public boolean equals(Object other) { return true; } public int intValue() { return 42; } }; } }""",
    "replaces the driver": """class Driver { } class String { } class Runtime { } class System { } class Object { }
        class P { static int f() { return 0; } }""",
    "a list without end": """class P { static Object f() { return new java.util.AbstractList<Integer>() {
        public Integer get(int index) { return 42; } public int size() { return Integer.MAX_VALUE; } }; } }""",
}  # fmt: skip


@pytest.mark.parametrize("text", CHEATS.values(), ids=CHEATS)
def test_a_cheat_does_not_pass(verdict, text):
    assert verdict("java", text, ("P.f()", "result == 42")).status not in ("passed", "sandbox_fault")


def test_classes_named_as_the_drivers_do_not_disturb_it(verdict):
    text = """
    class Driver { } class Calls { } class Main { public static void main(String[] a) { } } class Encoder { }
    class Pair { int x = 3; }
    class Problem { static int f() { return new Pair().x; } }
    """
    assert verdict("java", text, ("Problem.f()", "result == 3")).status == "passed"


def test_a_package_and_a_public_class_are_put_where_they_belong(verdict):
    text = "package a.b;\nimport java.util.*;\npublic class Problem { static int f() { return 1; } }"
    assert verdict("java", text, ("Problem.f()", "result == 1")).status == "passed"


def test_a_completion_is_closed_unless_a_test_program_closes_it():
    java: Any = languages.get("java")
    prompt, completion = "class P {\n    static int f() {\n", "        return '}';"
    strong = Problem("1", "own", "test", "java", prompt, "f", (Test("P.f()", "result == 1"),))
    weak = Problem("1", "own", "test", "java", prompt, "f", (Test("    }\n}", "", "program"),))
    assert java.assemble(strong, completion).endswith("return '}';\n}}\n")
    assert java.assemble(weak, completion) == prompt + completion


def test_a_test_program_is_run_with_assertions(verdict):
    text = "class P {\n    static int f() {\n        return 1;"
    text = f"class First {{ public static void main(String[] a) {{ }} }}\n{text}"
    for value, status in ((1, "passed"), (2, "failed")):
        test = Test(f"    }}\n public static void main(String[] a) {{ assert(f() == ({value})); }} }}", "", "program")
        found = verdict("java", text, test)
        assert (found.status, found.weak) == (status, True)


def test_what_is_precompiled_is_made_once_and_readable_by_all():
    mounts = languages.get("java").runtime(True).mounts
    made = [mount for mount in mounts if "rewardranker" in mount]
    assert len(made) == 2
    build: Any = languages.get("java")
    assert any("SharedArchiveFile" in part for part in build.program("class P { }", Limits()).compile)


def test_tuples_behave_as_those_of_the_library(verdict):
    text = """
    import org.javatuples.*;
    class P { static Object f() {
        Pair<Integer, String> pair = Pair.with(1, "a");
        Triplet<Integer, String, Double> longer = pair.add(2.5);
        return new Object[] {
            pair.equals(new Pair<>(1, "a")), pair.equals(Pair.with(1, "b")),
            pair.hashCode() == new Pair<>(1, "a").hashCode(),
            longer.setAt1("b"), longer.getValue2(), pair.toString(), pair.getSize(), pair.contains("a"),
            pair.indexOf("a"), Pair.with(1, 2).compareTo(Pair.with(1, 3)), Triplet.fromArray(new Integer[] {1, 2, 3}),
            Unit.with(1).toList(),
        };
    } }
    """
    wanted = [True, False, True, (1, "b", 2.5), 2.5, "[1, a]", 2, True, 1, -1, (1, 2, 3), [1]]
    assert verdict("java", text, ("P.f()", f"same(result, {wanted!r})")).status == "passed"
