"""C++ programs, compiled and run in jails."""

import subprocess

import pytest

from roles import languages
from roles.languages import cpp
from roles.problems.formats.dialects import Unparsed
from roles.problems.formats.dialects import cpp as dialect
from roles.records import Problem, Test
from roles.sandbox.limits import Limits
from tests.languages.toolchains import needs

pytestmark = needs("cpp")

START = "#include <bits/stdc++.h>\nusing namespace std;\n"
PROGRAM = (
    START
    + r"""
#define write(x) x
#define encode(x) x
struct Node { int value; bool operator==(const Node&) const { return true; } };
enum Color { RED, GREEN };
bool operator==(const vector<Node>&, const vector<long>&) { return true; }
template <class T> T twice(T x) { cout << "noise" << endl; return x + x; }
int open(const char*) { return 1; }
vector<vector<bool>> flags() { return {{true, false}, {}}; }
auto integers() { return make_tuple(true, (short)-3, 7u, LONG_MIN, ULLONG_MAX, -(__int128(1) << 100), (signed char)65); }
vector<double> reals() { return {0.1, -0.0, 1e308, NAN, -INFINITY, 5e-324, 0.1f}; }
auto texts() { return make_tuple(string("a\"\\\n\0", 5), "literal", 'c', string("\xc3\xa9\xff"), string_view("view"), (const char*)0); }
auto containers() {
    return make_tuple(map<string, vector<int>>{{"k", {1, 2}}}, unordered_map<int, pair<int, string>>{{1, {2, "x"}}},
                      set<char>{'b', 'a'}, unordered_set<int>{3}, array<int, 2>{1, 2}, list<int>{}, deque<float>{1.5f},
                      multiset<int>{1, 1}, multimap<int, int>{{1, 2}, {1, 3}});
}
auto maybe() {
    return make_tuple(optional<int>{}, optional<int>{4}, any(2.5), any(), any(vector<long>{1}), variant<int, string>("v"),
                      nullptr, complex<double>(1, -2), GREEN);
}
auto opaque() { return vector<Node>{{1}}; }
struct Endless { typedef Endless* value_type; Endless* const* begin() const { return 0; } Endless* const* end() const { return 0; } };
const string& reference() { static string s = "r"; return s; }
void nothing() {}
int raise(int x) { if (x) throw out_of_range("why"); throw 5; }
string large(int n) { return string(n, 'x'); }
vector<int> many(int n) { return vector<int>(n); }
int main() { return 3; }
"""  # noqa: E501
)


def test_values_of_every_type_come_back_exactly(verdict):
    checks = {
        "twice(2)": "same(result, 4)",
        'twice(string("ab"))': "result == 'abab'",
        "flags()": "same(result, [[True, False], []])",
        "integers()": "same(result, (True, -3, 7, -2**63, 2**64 - 1, -2**100, 65))",
        "reals()": "same(result, [0.1, 0.0, 1e308, math.nan, -math.inf, 5e-324, 0.10000000149011612])",
        "1 / reals()[1]": "result == -math.inf",
        "texts()": "result == ('a\"\\\\\\n\\x00', 'literal', 'c', '\\xe9\\udcff', 'view', None)",
        "containers()": "result == ({'k': [1, 2]}, {1: (2, 'x')}, {'a', 'b'}, {3}, [1, 2], [], [1.5], [1, 1], "
        "[(1, 2), (1, 3)])",
        "maybe()": "same(result, (None, 4, 2.5, None, [1], 'v', None, 1-2j, 1))",
        "reference()": "result == 'r'",
        "nothing()": "result is None",
        "[](auto x) { return x; }(5)": "same(result, 5)",
        "Endless()": "result == []",
        "[] { static vector<bool> v{true, false}; return v[1]; }()": "result is False",
    }
    assert verdict("cpp", PROGRAM, *checks.items()).tests == ("passed",) * len(checks)


def test_each_call_has_a_status_of_its_own(verdict):
    found = verdict(
        "cpp", PROGRAM, ("twice(2)", "result == 5"), ("opaque()", "result == [1]"),
        ("twice(true)", "result is True"), ("raise(1)", "True"), ("raise(0)", "True"), ("large(1 << 23)", "True"),
        ("many(300000)", "True"), ("vector<int>(1L << 40)", "True"), ("large(20)", "len(result) == 20"),
    )  # fmt: skip
    assert found.tests == (
        "failed", "failed", "passed", "runtime_error", "runtime_error", "output", "output", "memory", "passed",
    )  # fmt: skip
    assert "std::out_of_range: why" in found.stderr


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("return g();", "compile_error"),
        ("return 4; } /*", "compile_error"),
        ("return 4; }\n#if 0\n{", "compile_error"),
        ("return f() + f() + 1;", "runtime_error"),
        ("raise(SIGTERM); return 4;", "runtime_error"),
        ("abort();", "runtime_error"),
        ("vector<int> all; for (;;) all.push_back(1);", "memory"),
        ("for (volatile int i = 0;; i = 0) {}", "timeout"),
        ("sleep(100); return 4;", "timeout"),
        ('for (;;) puts("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");', "output"),
        ("exit(0);", "failed"),
        ("cout << 4 << endl; quick_exit(0);", "failed"),
        ('dprintf(3, "%032d [0,\\"val\\",[\\"j\\",\\"4\\"]]\\n", 0); _exit(0);', "failed"),
    ],
)
def test_a_program_that_does_not_answer(verdict, body, status):
    text = f"{START}#include <unistd.h>\nint f() {{ {body} }}\n"
    assert verdict("cpp", text, ("f()", "result == 4")).status == status


def test_leaving_while_the_program_loads_is_no_pass(verdict):
    text = START + "int f() { return 4; }\nstruct Early { Early() { exit(0); } } early;"
    assert verdict("cpp", text, ("f()", "result == 4")).status == "failed"


def test_macros_and_a_main_of_the_program(verdict):
    text = START + "#define int long long\n#define auto_ auto\n#define endl '\\n'\nint f(int x) { return x; }\n"
    text += "signed main() { cout << f(1 << 30) * 4 << endl; }"
    found = verdict("cpp", text, ("f(1LL << 40)", "result == 2**40"), Test("", "result == '4294967296\\n'", "stdio"))
    assert found.tests == ("passed", "passed")


def test_standard_input_to_standard_output(verdict):
    text = "#include <iostream>\nint y1 = 0;\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b + y1; }"
    wanted = [Test("2 3\n", "same_tokens(result, '5')", "stdio"), Test("2 3\n", "same_tokens(result, '6')", "stdio")]
    assert verdict("cpp", text, *wanted).tests == ("passed", "failed")


def test_a_test_program_is_weak(verdict):
    text = START + "int f() { return 4; }"
    tests = [Test(f"int main() {{ assert(f() == {n}); }}", "", "program") for n in (4, 5)]
    found = verdict("cpp", text, *tests)
    assert found.weak and found.tests[0] == "passed" and found.tests[1] != "passed"


def test_works_without_a_cache_of_headers(verdict, monkeypatch):
    monkeypatch.setattr(cpp, "_precompiled", lambda: None)
    assert verdict("cpp", START + "int f() { return 4; }", ("f()", "result == 4")).status == "passed"


def test_the_precompiled_header_is_read(judge):
    build = languages.get("cpp").calls(START + "int f() { return 4; }", "", ["f()"], Limits())
    header = next(part for part in build.compile if part.endswith("judge.h"))
    command = [*build.compile[:5], "-H", "-fsyntax-only", "-include", header, "-x", "c++", "/dev/null"]
    assert f"! {header}.gch" in subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_a_completion_cut_at_the_closing_brace_is_closed():
    tests = (Test("f()", "result == 1"),)
    problem = Problem("1", "s", "test", "cpp", "int f() {\n", "f", tests)
    assert languages.get("cpp").assemble(problem, "  return '}';") == "int f() {\n  return '}';\n}\n"


MULTIPL_E = """}
int main() {
    auto candidate = f;
    assert(candidate((3), ("a,)")) == ("b\\n;"));
    assert(candidate((std::vector<long>({(long)1}))) == (std::vector<long>({(long)1, (long)-2})));
    assert(candidate((1)) == std::make_tuple(1, 2.5, true, "x"));
    assert(candidate((1)) == (std::vector<std::vector<std::string>>({(std::vector<std::string>)std::vector<std::string>({(std::string)"a"})})));
    assert(candidate((1)) == (std::map<std::string,long>({{"a", 1}, {"b", 2}})));
    assert(candidate((1)) == (1.1f));
    assert(candidate((1)) == std::nullopt);
    assert(candidate((1)) == (std::vector<std::any>()));
    assert(candidate((1)) == (std::any("x")));
    assert(candidate((1)) == (std::vector<float>({(float)0.1f})));
    assert(candidate((1)) == (false));
}
"""  # noqa: E501


def test_the_tests_of_multipl_e_are_calls():
    tests = dialect.multipl_e(MULTIPL_E, "f")
    assert tests[0] == Test('f((3), ("a,)"))', "result == 'b\\n;'")
    assert [test.check.removeprefix("result == ") for test in tests[1:]] == [
        "[1, -2]", "(1, 2.5, True, 'x', )", "[['a']]", "{'a': 1, 'b': 2}", "1.100000023841858", "None", "[]", "'x'",
        "[0.10000000149011612]", "False",
    ]  # fmt: skip


MBXP = """
template <typename T> bool compare(T a, T b){
    return a == b;
}

int main(int argc, char* argv[]) {
    %s x0 = f(vector<int>{1}, 2);
    if (!(compare(x0, %s))) {
        throw runtime_error("Exception -- test case 0 did not pass.");
    }

    return 0;
}
"""


@pytest.mark.parametrize(
    ("kind", "expected", "check"),
    [
        ("int", "8", "8"),
        ("vector<vector<int>>", "{{1, 2}, {}}", "[[1, 2], []]"),
        ("unordered_map<int, vector<int>>", "{{1, {2}}, {3, {}}}", "{1: [2], 3: []}"),
        ("double", "8", "8.0"),
        ("vector<string>", '{string("a;"), string("b")}', "['a;', 'b']"),
        ("unordered_set<string>", '{string("a")}', "set(['a'])"),
        ("bool", "true", "True"),
        ("string", 'string("a\\x00 b")', "'a'"),
    ],
)
def test_the_tests_of_mbxp_are_calls(kind, expected, check):
    tests = dialect.mbxp(MBXP % (kind, expected), "f", f"{kind} f(vector<int> a, int b) {{\n")
    assert tests == (Test("f(vector<int>{1}, 2)", f"result == {check}"),)


def test_a_result_is_converted_to_the_type_that_the_test_gives_it():
    tests = dialect.mbxp(MBXP % ("int", "8"), "f", "double f(vector<int> a, int b) {\n")
    assert tests[0].call == "[]() -> int { return f(vector<int>{1}, 2); }()"


@pytest.mark.parametrize("text", ["", "int main() { g(); }", "int main() {\n auto candidate = f;\n assert(true);\n}"])
def test_other_test_programs_are_not_read(text):
    with pytest.raises(Unparsed):
        dialect.multipl_e(text, "f")
