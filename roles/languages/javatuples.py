"""The classes of `org.javatuples`, which the Java programs of MultiPL-E import, as Java source.

Immutable tuples of one to ten items with the constructors, accessors and equality of the library of that name.
"""

from __future__ import annotations

_NAMES = ("Unit", "Pair", "Triplet", "Quartet", "Quintet", "Sextet", "Septet", "Octet", "Ennead", "Decade")
_TUPLE = """package org.javatuples;

import java.util.*;

public abstract class Tuple implements Iterable<Object>, java.io.Serializable, Comparable<Tuple> {
    private final List<Object> items;

    protected Tuple(Object... items) { this.items = Collections.unmodifiableList(Arrays.asList(items)); }

    public final int getSize() { return items.size(); }
    public final Object getValue(int index) { return items.get(index); }
    public final Iterator<Object> iterator() { return items.iterator(); }
    public final boolean contains(Object value) { return items.contains(value); }
    public final boolean containsAll(Collection<?> values) { return items.containsAll(values); }
    public final int indexOf(Object value) { return items.indexOf(value); }
    public final int lastIndexOf(Object value) { return items.lastIndexOf(value); }
    public final List<Object> toList() { return items; }
    public final Object[] toArray() { return items.toArray(); }
    @Override public final String toString() { return items.toString(); }
    @Override public final int hashCode() { return 31 + items.hashCode(); }
    @Override public final boolean equals(Object other) {
        return other != null && other.getClass() == getClass() && ((Tuple) other).items.equals(items);
    }
    @SuppressWarnings({"unchecked", "rawtypes"})
    public int compareTo(Tuple other) {
        for (int i = 0; i < Math.min(items.size(), other.items.size()); i++) {
            int order = ((Comparable) items.get(i)).compareTo(other.items.get(i));
            if (order != 0) return order;
        }
        return Integer.compare(items.size(), other.items.size());
    }
}
"""


def sources() -> dict[str, str]:
    """The text of each file of the package, by its path."""
    files = {"Tuple": _TUPLE} | {name: _tuple(size) for size, name in enumerate(_NAMES, 1)}
    return {f"org/javatuples/{name}.java": text for name, text in files.items()}


def _tuple(size: int) -> str:
    name, letters = _NAMES[size - 1], "ABCDEFGHIJ"[:size]
    types = f"<{', '.join(letters)}>"
    whole = f"{name}{types}"
    parameters = ", ".join(f"{letter} value{i}" for i, letter in enumerate(letters))
    values = [f"value{i}" for i in range(size)]
    lines = [
        "package org.javatuples;",
        "",
        '@SuppressWarnings("unchecked")',
        f"public final class {whole} extends Tuple {{",
        f"    public {name}({parameters}) {{ super({_listed(values)}); }}",
        f"    public static {types} {whole} with({parameters}) {{ return new {name}<>({_listed(values)}); }}",
        f"    public static <X> {name}<{_listed(['X'] * size)}> fromArray(X[] items) {{",
        "        return fromCollection(java.util.Arrays.asList(items));\n    }",
        f"    public static <X> {name}<{_listed(['X'] * size)}> fromCollection(java.util.Collection<X> items) {{",
        f"        if (items.size() != {size}) throw new IllegalArgumentException(items.size() + \" items\");",
        "        java.util.Iterator<X> each = items.iterator();",
        f"        return new {name}<>({_listed(['each.next()'] * size)});\n    }}",
    ]
    own = [f"getValue{i}()" for i in range(size)]
    for i, letter in enumerate(letters):
        changed = _listed([*letters[:i], "X", *letters[i + 1 :]])
        lines += [
            f"    public {letter} getValue{i}() {{ return ({letter}) getValue({i}); }}",
            f"    public <X> {name}<{changed}> setAt{i}(X value) {{",
            f"        return new {name}<>({_listed([*own[:i], 'value', *own[i + 1 :]])});\n    }}",
        ]
    if size < len(_NAMES):
        longer = f"{_NAMES[size]}<{_listed([*letters, 'X'])}>"
        lines += [
            f"    public <X> {longer} add(X value) {{ return new {_NAMES[size]}<>({_listed([*own, 'value'])}); }}"
        ]
    return "\n".join([*lines, "}", ""])


def _listed(parts: list[str]) -> str:
    return ", ".join(parts)
