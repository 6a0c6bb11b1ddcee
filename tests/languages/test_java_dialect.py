"""Java test programs in the published shapes, read as calls and expected values."""

import pytest

from roles.problems.formats.dialects import Unparsed, java

MULTIPL_E = """    }}
    public static void main(String[] args) {{
    {}
    }}

}}
"""
MBXP = """
class Main {{
    public static boolean compare(Object obj1, Object obj2) {{
        if (obj1 == null && obj2 == null){{
            return true;
        }} else if (obj1 == null || obj2 == null){{
            return false;
        }} else {{
            return obj1.equals(obj2);
        }}
    }}

    public static void main(String[] args) throws Exception {{
        int arg00 = 1;
        List<Object> x0 = F.f(1, ";)");
        List<Object> v0 = {};
        if (!(compare(x0, v0))) {{
            throw new java.lang.Exception("Exception -- test case 0 did not pass. x0 = " + x0);
        }}


}}
}}
"""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(-7l)", -7), ("(2.5d)", 2.5), ("(0.1f)", 0.10000000149011612), ("(float)3l", 3.0), ("(boolean)true", True),
        ("null", None), ("1.0E7", 1e7), ('("a\\"\\u0041\\n")', 'a"A\n'), ("'x'", "x"),
        ("(new ArrayList<Long>(Arrays.asList((long)1l, (long)2l)))", [1, 2]),
        ("new ArrayList<ArrayList<String>>()", []),
        ("(ArrayList<Pair<String, Long>>)new ArrayList<Pair<String, Long>>(Arrays.asList("
         "(Pair<String, Long>)Pair.with(\"a\", 1l)))", [("a", 1)]),
        ("(new HashMap<Pair<Long, Long>,Long>(Map.of(Pair.with(1l, 2l), 3l)))", {(1, 2): 3}),
        ('new HashMap(){{put("a", Arrays.asList(1, 2));put("b", null);}}', {"a": [1, 2], "b": None}),
        ("Optional.of(Triplet.with(1l, true, \"x\"))", (1, True, "x")), ("Optional.empty()", None),
        ("new int[][] {{1, 2}, {}}", [[1, 2], []]), ("new HashSet<>(Arrays.asList(Arrays.asList(1)))", {(1,)}),
    ],
)  # fmt: skip
def test_literals(text, value):
    read = java.Reader.read(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["f(1)", "1 + 1", "Object(1l)", "new Node(1)", "010", "x", "Math.PI", '"a" + "b"', ""])
def test_what_is_no_literal_is_refused(text):
    with pytest.raises(Unparsed):
        java.Reader.read(text)


def test_multipl_e():
    lines = 'assert(f((new ArrayList<Long>(Arrays.asList((long)1l))), ")") == (1l));\n'
    lines += "assert(f((1.5f)).equals((Pair.with(1l, true))));"
    first, second = java.multipl_e(MULTIPL_E.format(lines), "f")
    assert first.call == 'Problem.f((new ArrayList<Long>(Arrays.asList((long)1l))), ")")'
    assert (first.check, first.kind) == ("same(result, 1)", "call")
    assert (second.call, second.check) == ("Problem.f((1.5f))", "same(result, (1, True, ))")


@pytest.mark.parametrize("line", ["", "assert(f(1));", "assert(f(1) == g(2));", "int x;", "assert(f(1) == 1 || true);"])
def test_another_multipl_e_program_is_refused(line):
    with pytest.raises(Unparsed):
        java.multipl_e(MULTIPL_E.format(line), "f")


def test_mbxp():
    (test,) = java.mbxp(MBXP.format('Arrays.asList("a", 1.5, null)'), "f", "")
    assert (test.call, test.check) == ('F.f(1, ";)")', "same(result, ['a', 1.5, None])")


@pytest.mark.parametrize(
    ("old", "new"), [("obj1.equals(obj2)", "true"), ("compare(x0, v0)", "compare(v0, v0)"), ("v0", "w")]
)
def test_another_mbxp_program_is_refused(old, new):
    with pytest.raises(Unparsed):
        java.mbxp(MBXP.format("Arrays.asList(1)").replace(old, new), "f", "")
