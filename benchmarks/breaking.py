"""Wrong programs from right ones: the function of that name returns something else than it did.

Where a function can be replaced at run time, code behind the program wraps it; in C++, Java and C# a second function
of the same signature takes its place. A number becomes the next one, a boolean the other one, a text gets one letter
more, a list one item more. A recursive function meets its own wrong results, so it may also loop or crash.
"""

from __future__ import annotations

import re

_PYTHON = """
def _off(value):
    if isinstance(value, bool): return not value
    if isinstance(value, (int, float, complex)): return value + 1 if value + 1 != value else 0
    if isinstance(value, str): return value + "x"
    if isinstance(value, (list, tuple)): return type(value)([*value, "broken"])
    return "broken"
def _wrap(inner): return lambda *a, **k: _off(inner(*a, **k))
NAME = _wrap(NAME)
"""
_RUBY = """
def __off(value)
  case value
  when true, false then !value
  when Numeric then value + 1 != value ? value + 1 : 0
  when String then value + "x"
  when Array then value + ["broken"]
  else "broken"
  end
end
alias __inner NAME
def NAME(*a, &b) = __off(__inner(*a, &b))
"""
_PERL = """
{ no strict 'refs'; no warnings;
  my $inner = \\&NAME;
  my $off = sub { my $v = shift; ref $v eq 'ARRAY' ? [@$v, 'broken'] : ref $v || !defined $v ? 'broken' : $v . 'x' };
  *NAME = sub { wantarray ? map { $off->($_) } $inner->(@_) : $off->(scalar $inner->(@_)) };
}
"""
_LUA = """
do
  local inner = NAME
  NAME = function(...)
    local v = inner(...)
    if type(v) == "boolean" then return not v end
    if type(v) == "number" then return v + 1 ~= v and v + 1 or 0 end
    if type(v) == "string" then return v .. "x" end
    if type(v) == "table" then local c = {} for k, i in pairs(v) do c[k] = i end c[#c + 1] = "broken" return c end
    return "broken"
  end
end
"""
_BASH = """
eval "_inner_$(declare -f NAME)"
NAME() { printf '%sx' "$(_inner_NAME "$@")"; }
"""
_BEHIND = {"python": _PYTHON, "ruby": _RUBY, "perl": _PERL, "lua": _LUA, "bash": _BASH}

_JAVASCRIPT = """
function off__(v) {
  if (typeof v === 'boolean') return !v;
  if (typeof v === 'number') return v + 1 !== v && v === v ? v + 1 : 0;
  if (typeof v === 'bigint') return v + 1n;
  if (typeof v === 'string') return v + 'x';
  return Array.isArray(v) ? [...v, 'broken'] : 'broken';
}
var NAME = function () { return off__(NAME__.apply(null, arguments)); };
"""
_TYPESCRIPT = _JAVASCRIPT.replace("off__(v)", "off__(v: any): any").replace(
    "var NAME = function () { return off__(NAME__.apply(null, arguments)); }",
    "var NAME: any = function (...a: any[]): any { return off__((NAME__ as any)(...a)); }",
)
_PHP = """
function off__($v) {
  if (is_bool($v)) return !$v;
  if (is_int($v) || is_float($v)) return $v + 1 != $v ? $v + 1 : 0;
  if (is_string($v)) return $v . 'x';
  return is_array($v) ? array_merge($v, ['broken']) : 'broken';
}
function NAME(...$a) { return off__(NAME__(...$a)); }
"""
_CPP = """
template <class T> auto off__(T v, int) -> decltype(v.insert(v.end(), typename T::value_type()), T()) {
  v.insert(v.end(), typename T::value_type());
  return v;
}
template <class T> T off__(T v, long) {
  if constexpr (std::is_same_v<T, bool>) return !v;
  else if constexpr (std::is_arithmetic_v<T>) return v + 1 != v ? v + 1 : 0;
  else return T();
}
"""


def broken(language: str, text: str, name: str) -> str | None:
    """`text` with the function `name` made wrong; None where no way to do so is known."""
    if language in _BEHIND:
        return f"{text}\n{_BEHIND[language].replace('NAME', name)}"
    if language in ("javascript", "typescript", "php"):
        behind = {"javascript": _JAVASCRIPT, "typescript": _TYPESCRIPT, "php": _PHP}[language].replace("NAME", name)
        renamed, count = re.subn(
            rf"^(\s*(?:function|const|let|var)\s+){name}\b", rf"\g<1>{name}__", text, count=1, flags=re.MULTILINE
        )
        return f"{renamed}\n{behind}" if count else None
    if language in ("cpp", "java", "csharp"):
        return _replaced(language, text, name)
    return None


def _replaced(language: str, text: str, name: str) -> str | None:
    returned = r"^[ \t]*(?P<type>[A-Za-z_][^\n*/=;()]*?[\s&*>\]])"
    found = re.search(rf"{returned}{name}\s*\((?P<parameters>[^\n]*)\)[^\n{{;()]*(?=\s*\{{)", text, re.MULTILINE)
    if not found:
        return None
    arguments = ", ".join(re.findall(r"\w+", part.partition("=")[0])[-1] for part in _split(found["parameters"]))
    call = f"{name}__({arguments})"
    kind = re.sub(r"\b(public|private|static|inline|final|const)\b", "", found["type"]).strip(" &")
    body = f"return off__<{kind}>({call}, 0);" if language == "cpp" else _body(language, kind, call)
    head = _CPP if language == "cpp" else ""
    inner = re.sub(rf"\b{name}(?=\s*\()", f"{name}__", found[0], count=1)
    declared = f"{inner};\n" if language == "cpp" else ""  # the wrapper stands before what it calls
    start, end = found.span()
    return f"{text[:start]}{head}{declared}{found[0].rstrip()} {{ {body} }}\n{inner}{text[end:]}"


def _body(language: str, kind: str, call: str) -> str:
    if kind.lower() in ("bool", "boolean"):
        return f"return !{call};"
    if kind in ("int", "long", "double", "float", "Integer", "Long", "Double", "Float", "decimal", "ulong", "uint"):
        return f"return {call} + 1;"
    if kind in ("String", "string"):
        return f'return {call} + "x";'
    item = re.fullmatch(r"(?:Array)?List<(.*)>", kind)
    if item and language == "java":
        return f"java.util.ArrayList<{item[1]}> y = new java.util.ArrayList<>({call}); y.add(null); return y;"
    if item:
        return f"var y = new List<{item[1]}>({call}); y.Add(default({item[1]})); return y;"
    return f"{call}; return {'default(' + kind + ')' if language == 'csharp' else 'null'};"


def _split(parameters: str) -> list[str]:
    """The parameters between commas that stand outside of brackets."""
    parts, depth = [""], 0
    for character in parameters:
        depth += (character in "<([{") - (character in ">)]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]
