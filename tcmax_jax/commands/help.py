"""The text of --help: every mode with the flags it reads, every flag with its meaning."""

import textwrap
from collections.abc import Sequence

from tcmax_jax.commands.modes import DEFAULT, MODES, modes_reading

_WIDTH = 80
_USAGE = """\
Multimodal classification by total correlation maximisation.

Usage: tcmax_jax [--mode=MODE] [--FLAG=VALUE ...] [--config.FIELD=VALUE ...]
       (python launch.py in a checkout, python -m tcmax_jax anywhere)

Any field of the configuration is changed by its path, with a value in JSON or
plain text: --config.optimizer.learning_rate=0.01 --config.method=joint
--config.comparison.seeds=[0,1]. --mode=config lists all fields with type,
default and meaning."""


def help_text(flags: Sequence, mode: str | None = None) -> str:
    """Returns the help about all modes, or about one.

    Args:
      flags: the flags of the command, each with `name`, `help`, `default` and `boolean`.
      mode: name of the mode; None for all.
    """
    chosen = MODES if mode is None else {mode: MODES[mode]}
    lines = [_USAGE, "", "Modes" if mode is None else "Mode"]
    for name, each in chosen.items():
        lines.append(f"  --mode={name}{' (the default)' if name == DEFAULT else ''}")
        lines.append(_indented(each.help))
        reads = [f"--{flag}{' (needed)' if flag in each.needs else ''}" for flag in each.reads]
        if each.fields:
            reads.append("--config.FIELD")
        lines.append(_indented(f"Reads {', '.join(reads)}."))
    lines += ["", "Flags"]
    for flag in flags:
        readers = modes_reading(flag.name)
        if mode is None or not readers or mode in readers:
            value = "" if flag.boolean else "=..."
            where = "" if mode or readers else " (every mode)"
            lines += [f"  --{flag.name}{value}{where}", _indented(flag.help)]
    lines += ["  --verbosity=1 (every mode)", _indented("Show where an error came from.")]
    lines += ["  --version, --help, --helpfull (with the flags of other packages)"]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
