"""C# test programs in the published shapes, read as calls and expected values."""

import pytest

from roles.problems.formats.dialects import Unparsed, csharp

PROMPT = "using System;\n\nnamespace Solution\n{\n    public class Program\n    {\n"
MULTIPL_E = """    }}
    public static void Main(string[] args) {{
    {}
    }}

}}
"""
MBXP = """
        public static void Main(string[] args)
        {{
            CompareLogic compareLogic = new CompareLogic();
            var actual1 = F(1,";)");
            var expected1 = {};
            var result1 = compareLogic.Compare(actual1, expected1);
            if (!result1.AreEqual) {{throw new Exception("Exception --- test case 0 failed to pass");}}

        }}
    }}
}}
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(-7L)", -7), ("(2.5)", 2.5), ("(0.1f)", 0.10000000149011612), ("1.5m", 1.5), ("(bool)true", True),
        ("null", None), ('("a\\"\\u0041\\n")', 'a"A\n'), ("'x'", "x"),
        ("(new List<long>(new long[]{(long)1L, (long)2L}))", [1, 2]), ("new List<int> {1,2}", [1, 2]),
        ("(new List<List<object>>())", []), ("new List<object> {}", []),
        ("(List<Tuple<string, long>>)new List<Tuple<string, long>>(new Tuple<string, long>[]{"
         '(Tuple<string, long>)Tuple.Create("a", 1L)})', [("a", 1)]),
        ("(new Dictionary<Tuple<long, long>,long>(){{Tuple.Create(1L, 2L), 3L}})", {(1, 2): 3}),
        ('new Dictionary<string, List<int>> {{"a", new List<int> {1}},{"b", null}}', {"a": [1], "b": None}),
        ("new HashSet<List<int>> {new List<int> {1}}", {(1,)}), ("(1, true)", (1, True)),
    ],
)  # fmt: skip
def test_literals(text, value):
    read = csharp.Reader.read(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["F(1)", "1 + 1", "object(1L)", "new N(1)", 'new object {{"a", 1}}', "x", '@"a"', ""])
def test_what_is_no_literal_is_refused(text):
    with pytest.raises(Unparsed):
        csharp.Reader.read(text)


def test_multipl_e():
    lines = 'Debug.Assert(F((new List<long>(new long[]{(long)1L})), ")") == (1L));\n'
    lines += "Debug.Assert(F((1.5f)).Equals((Tuple.Create(1L, true))));"
    first, second = csharp.multipl_e(MULTIPL_E.format(lines), "f")
    assert first.call == 'Problem.F((new List<long>(new long[]{(long)1L})), ")")'
    assert (first.check, first.kind) == ("same(result, 1)", "call")
    assert (second.call, second.check) == ("Problem.F((1.5f))", "same(result, (1, True, ))")


@pytest.mark.parametrize("line", ["", "Debug.Assert(F(1));", "Debug.Assert(F(1) == G(2));", "int x = 1;"])
def test_another_multipl_e_program_is_refused(line):
    with pytest.raises(Unparsed):
        csharp.multipl_e(MULTIPL_E.format(line), "f")


def test_mbxp():
    (test,) = csharp.mbxp(MBXP.format('new List<object> {"a",1.5,null}'), "F", PROMPT)
    assert (test.call, test.check) == ('Solution.Program.F(1,";)")', "same(result, ['a', 1.5, None])")


@pytest.mark.parametrize(
    ("old", "new"),
    [("result1.AreEqual", "true"), ("(actual1, expected1)", "(actual1, actual1)"), ("var expected1", "int expected1")],
)
def test_another_mbxp_program_is_refused(old, new):
    with pytest.raises(Unparsed):
        csharp.mbxp(MBXP.format("1").replace(old, new), "F", PROMPT)
