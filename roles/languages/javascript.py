"""JavaScript, run by Node.js."""

from __future__ import annotations

import json
from collections.abc import Sequence

from roles.languages.base import Build
from roles.languages.node import NodeLanguage
from roles.sandbox.limits import Limits

# As the driver reads it: a function's body. What `--check` finds well may be a module.
_COMPILES = "require('vm').compileFunction(require('fs').readFileSync('program.js', 'utf8'))"


class JavaScript(NodeLanguage):
    name = "javascript"
    stop = ("\nfunction ", "\n/*", "\n//", "\nconsole.log", "\n```")

    def program(self, text: str, limits: Limits) -> Build:
        node = self.node(limits)
        return Build({"program.js": text}, (*node, "program.js"), syntax_check=(node[0], "--check", "program.js"))

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        source = f"{text}\n{setup}" if setup else text
        files = {"program.js": source, "calls.json": json.dumps(list(calls)), "driver.js": self.driver(limits)}
        node = self.node(limits)
        return Build(files, (*node, "driver.js"), syntax_check=(node[0], "-e", _COMPILES))
