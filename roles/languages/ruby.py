"""Ruby, run by its reference interpreter."""

from __future__ import annotations

import functools
import glob

from roles.languages import toolchain
from roles.languages.base import Runtime
from roles.languages.interpreted import Interpreted
from roles.sandbox.limits import MIB

_GEMS = "/usr/share/rubygems-integration"
_BUNDLED = (f"{_GEMS}/all/gems", "/usr/lib/ruby/gems/*/gems", "/usr/local/lib/ruby/gems/*/gems")


class Ruby(Interpreted):
    name = "ruby"
    suffix = "rb"
    stop = ("\ndef ", "\nclass ", "\nmodule ", "\n#", "\nputs ", "\nrequire ", "\n```")
    headroom_bytes = 128 * MIB
    processes = 2
    memory_signs = ("failed to allocate memory",)

    def runtime(self, foreign_user: bool) -> Runtime:
        mounts = [_GEMS, "/usr/local/lib/ruby"]
        return toolchain.find(self.name, ["ruby"], ["--version"], mounts, "the package ruby")

    def interpreter(self) -> tuple[str, ...]:
        """Without RubyGems, which takes longer to start than Ruby itself; libraries that come as gems are found."""
        return (self.runtime(False).executable, "--disable-gems", *(f"-I{folder}" for folder in _bundled()))

    def check(self, file: str) -> tuple[str, ...]:
        return (self.runtime(False).executable, "--disable-gems", "-c", file)


@functools.cache
def _bundled() -> tuple[str, ...]:
    return tuple(sorted(folder for pattern in _BUNDLED for folder in glob.glob(f"{pattern}/*/lib")))
