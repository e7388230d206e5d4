"""The recipe file of a command as a module, also in the worker processes that it starts.

Objects that a recipe defines are pickled for worker processes under the name of this module. The
workers import it, and find the recipe's path in an environment variable. Without one it is empty.
"""

import os
from pathlib import Path

if "TCMAX_JAX_RECIPE" in os.environ:
    __file__ = os.environ["TCMAX_JAX_RECIPE"]
    exec(compile(Path(__file__).read_text(), __file__, "exec"), globals())
