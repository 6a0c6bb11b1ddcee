"""C# programs, compiled and run in jails."""

import pytest

from roles import languages
from roles.records import Problem, Test
from tests.languages.toolchains import needs

pytestmark = needs("csharp")

PROGRAM = """
using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Numerics;
using System.Threading;

class Problem {
    class Node { public int Value; }
    enum Color { Red }
    static int depth = 0;

    public static object Echo(object value) { return value; }
    public static int Twice(int x) { Console.WriteLine("noise"); return 2 * x; }
    public static object Values(int which) {
        switch (which) {
            case 0: return new object[] {true, 1, 2L, (short) 3, (sbyte) -4, long.MinValue, ulong.MaxValue, BigInteger.Parse("-123456789012345678901234567890"), (int?) 7, (int?) null};
            case 1: return new double[] {0.1, -0.0, 1e308, double.NaN, double.NegativeInfinity, 5e-324, 0.1f};
            case 2: return new object[] {"a\\"\\\\\\n\\u00e9\\U0001f600\\ud800\\0", 'c', "", null, 1.5m};
            case 3: return new Dictionary<string, object> {{"k", new int[][] {new[] {1}, new int[0]}}, {"l", new HashSet<int> {1, 2}}};
            case 4: return new object[] {Tuple.Create(1, "a"), (1, 2.5), new Queue<int>(new[] {1}), new[] {1, 2}.Select(x => x * x), new int[,] {{1, 2}, {3, 4}}, new KeyValuePair<int, int>(1, 2)};
            case 5: return new HashSet<Tuple<int, int>> {Tuple.Create(1, 2)};
            case 6: return new object[] {new Node(), Color.Red, new object(), new Hashtable()};
            case 7: var list = new List<object>(); list.Add(list); return list;
            case 8: return new int[300000];
            default: return new string('x', which);
        }
    }
    public static int Recurse(int x) { return Recurse(x + 1) + 1; }
    public static object Eat() { var all = new List<long[]>(); while (true) all.Add(new long[1 << 20]); }
    public static int Raise() { throw new InvalidOperationException("why"); }
    public static int Leave(int status) { Environment.Exit(status); return 4; }
    public static int Begin() { new Thread(() => { while (true) { } }).Start(); return 4; }
    public static int Spin() { for (int i = 0; ; i++) if (i == -1 && i > 0) return 4; }
    public static int Sleep() { Thread.Sleep(100000); return 4; }
    public static int Print() { while (true) Console.WriteLine("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); }
    public static IEnumerable<int> Endless() { while (true) yield return 1; }
}
"""  # noqa: E501


def test_values_of_every_type_come_back_exactly(verdict):
    checks = [
        "same(result, [True, 1, 2, 3, -4, -2**63, 2**64 - 1, -123456789012345678901234567890, 7, None])",
        "same(result, [0.1, 0.0, 1e308, math.nan, -math.inf, 5e-324, float('0.10000000149011612')])",
        "result == ['a\"\\\\\\n\u00e9\U0001f600\\ud800\\x00', 'c', '', None, 1.5]",
        "result == {'k': [[1], []], 'l': {1, 2}}",
        "result == [(1, 'a'), (1, 2.5), [1], [1, 4], [[1, 2], [3, 4]], (1, 2)]",
        "result == {(1, 2)}",
    ]
    tests = [(f"Problem.Values({index})", check) for index, check in enumerate(checks)]
    tests.append(("Problem.Values(1)", "str(result[1]) == '-0.0'"))
    assert verdict("csharp", PROGRAM, *tests).tests == ("passed",) * len(tests)


def test_what_is_no_plain_value_equals_nothing_and_large_ones_are_refused(verdict):
    calls = ["Problem.Values(6)", *(f"Problem.Values({i})" for i in (7, 8, 5000000)), "Problem.Endless()"]
    tests = [(call, "result[0] == result[0]") for call in calls]
    assert verdict("csharp", PROGRAM, *tests).tests == ("failed", "output", "output", "output", "output")


def test_calls_that_go_wrong_are_told_apart_and_others_still_count(verdict):
    tests = [
        ("Problem.Twice(2)", "result == 4"), ("Problem.Twice(2)", "result == 5"), ("Problem.Raise()", "result == 4"),
        ("Problem.Eat()", "result == 4"), ("Problem.Begin()", "result == 4"),
        ("Problem.Echo(new List<long>(new long[] {1L}))", "result == [1]"),
    ]  # fmt: skip
    expected = ("passed", "failed", "runtime_error", "memory", "passed", "passed")
    assert verdict("csharp", PROGRAM, *tests).tests == expected


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("Problem.Leave(0)", "failed"), ("Problem.Leave(3)", "runtime_error"), ("Problem.Spin()", "timeout"),
        ("Problem.Sleep()", "timeout"), ("Problem.Print()", "output"), ("Problem.Missing()", "compile_error"),
        ("Problem.Recurse(0)", "runtime_error"),
    ],
)  # fmt: skip
def test_a_call_that_ends_everything(verdict, call, status):
    assert verdict("csharp", PROGRAM, (call, "result == 4")).status == status


def test_standard_input_and_output(verdict):
    text = """
    using System;
    using System.Diagnostics;
    class Solution {
        static int Main(string[] arguments) {
            int n = int.Parse(Console.ReadLine());
            if (n == 7) return 7;
            if (n == 8) Environment.FailFast("now");
            if (n == 9) throw new Exception();
            if (n == 10) { var all = new byte[1000][]; for (int i = 0; i < 1000; i++) all[i] = new byte[1 << 22]; }
            Debug.Assert(n != 11);
            Console.WriteLine(n * 2);
            return 0;
        }
    }
    """
    inputs = [("2", "4"), ("2", "5"), ("7", "14"), ("8", "16"), ("9", "18"), ("10", "20"), ("11", "22")]
    tests = [Test(given, f"same_tokens(result, {wanted!r})", "stdio") for given, wanted in inputs]
    expected = ("passed", "failed", "runtime_error", "runtime_error", "runtime_error", "memory", "runtime_error")
    assert verdict("csharp", text, *tests).tests == expected


@pytest.mark.parametrize("text", ["", "class Problem { int", "// only a comment", "\ud800", "int F() { return 1; }"])
def test_a_text_that_is_no_program(verdict, text):
    assert verdict("csharp", text, ("Problem.F()", "result == 1")).status == "compile_error"


CHEATS = {
    "leaves while its class is loaded":
        "class P { static P() { System.Environment.Exit(0); } public static int F() { return 0; } }",
    "raises while its class is loaded":
        "class P { static P() { throw new System.Exception(); } public static int F() { return 42; } }",
    "prints what is expected":
        'class P { public static int F() { System.Console.WriteLine("[0, \\"val\\", 42]"); return 0; } }',
    "writes a frame of its own": """class P {
        [System.Runtime.InteropServices.DllImport("libc")] static extern int write(int d, byte[] b, int n);
        public static int F() {
            var bytes = System.Text.Encoding.ASCII.GetBytes("[0, \\"val\\", [\\"j\\", \\"42\\"]]\\n");
            write(3, bytes, bytes.Length); System.Environment.Exit(0); return 0; } }""",
    "a value that is equal to all": """class P { public static object F() { return new P(); }
        public override bool Equals(object other) { return true; }
        public static bool operator ==(P a, int b) { return true; }
        public static bool operator !=(P a, int b) { return false; }
        public override int GetHashCode() { return 42; } public override string ToString() { return "42"; } }""",
    "replaces the driver": """class Driver { } class Encoder { } class Console { }
        namespace RewardRanker { class Driver { } class Encoder { } }
        class P { public static int F() { return 0; } }""",
}  # fmt: skip


@pytest.mark.parametrize("text", CHEATS.values(), ids=CHEATS)
def test_a_cheat_does_not_pass(verdict, text):
    assert verdict("csharp", text, ("P.F()", "result == 42")).status not in ("passed", "sandbox_fault")


def test_classes_named_as_the_drivers_do_not_disturb_it(verdict):
    text = """
    class Driver { static void Main() { } } class Encoder { } interface ICalls { }
    class Problem { public static int F() { return 3; } }
    """
    assert verdict("csharp", text, ("Problem.F()", "result == 3")).status == "passed"


def test_a_completion_is_closed_unless_a_test_program_closes_it():
    csharp = languages.get("csharp")
    prompt, completion = "class P {\n    static int F() {\n", "        return '}';"
    strong = Problem("1", "own", "test", "csharp", prompt, "F", (Test("P.F()", "result == 1"),))
    weak = Problem("1", "own", "test", "csharp", prompt, "F", (Test("    }\n}", "", "program"),))
    assert csharp.assemble(strong, completion).endswith("return '}';\n}}\n")
    assert csharp.assemble(weak, completion) == prompt + completion


def test_a_failed_assertion_ends_a_test_program(verdict):
    text = """
    using System; using System.Diagnostics; using KellermanSoftware.CompareNetObjects;
    class P {
        public static int[] F() {
            return new[] {1};
    """
    for value, status in ((1, "passed"), (2, "failed")):
        test = Test(
            "} static void Main(string[] a) { Debug.Assert(F()[0] == 1);"
            f"if (!new CompareLogic().Compare(F(), new[] {{{value}}}).AreEqual) throw new Exception(); }} }}",
            "", "program",
        )  # fmt: skip
        found = verdict("csharp", text, test)
        assert (found.status, found.weak) == (status, True)
