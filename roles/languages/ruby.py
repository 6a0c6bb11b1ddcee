"""Ruby, run by its reference interpreter."""

from __future__ import annotations

import functools
import glob
from collections.abc import Sequence

from roles.languages import toolchain
from roles.languages.base import Build, Executed, Runtime
from roles.sandbox.limits import MIB, Limits

_GEMS = "/usr/share/rubygems-integration"
_BUNDLED = (f"{_GEMS}/all/gems", "/usr/lib/ruby/gems/*/gems", "/usr/local/lib/ruby/gems/*/gems")


class Ruby(Executed):
    name = "ruby"
    stop = ("\ndef ", "\nclass ", "\nmodule ", "\n#", "\nputs ", "\nrequire ", "\n```")
    headroom_bytes = 128 * MIB
    processes = 2
    memory_signs = ("failed to allocate memory",)

    def runtime(self, foreign_user: bool) -> Runtime:
        mounts = [_GEMS, "/usr/local/lib/ruby"]
        return toolchain.find(self.name, ["ruby"], ["--version"], mounts, "the package ruby")

    def program(self, text: str, limits: Limits) -> Build:
        return Build({"program.rb": text}, (*self._ruby(), "program.rb"), syntax_check=self._check())

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        driver = toolchain.driver("ruby.rb").replace("LARGEST_FRAME", str(limits.reply_bytes))
        asked = "".join(call.encode("utf-8", "surrogatepass").hex() + "\n" for call in calls)
        files = {"program.rb": f"{text}\n{setup}", "calls.hex": asked, "driver.rb": driver}
        return Build(files, (*self._ruby(), "driver.rb"), syntax_check=self._check())

    def _ruby(self) -> tuple[str, ...]:
        """Without RubyGems, which takes longer to start than Ruby itself; libraries that come as gems are found."""
        return (self.runtime(False).executable, "--disable-gems", *(f"-I{folder}" for folder in _bundled()))

    def _check(self) -> tuple[str, ...]:
        return (self.runtime(False).executable, "--disable-gems", "-c", "program.rb")


@functools.cache
def _bundled() -> tuple[str, ...]:
    return tuple(sorted(folder for pattern in _BUNDLED for folder in glob.glob(f"{pattern}/*/lib")))
