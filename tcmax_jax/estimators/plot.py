"""A picture of running estimates."""

from collections.abc import Mapping

# Nats beyond which the axis becomes logarithmic.
_LARGEST = 20


def plot_running(results: Mapping, path) -> None:
    """Draws the running estimates with bands of two standard errors, a colour each, as PNG.

    Args:
      results: what `tcmax_jax.estimators.command.estimate_file` returns.
      path: of the picture.
    """
    # Imported here, since nothing else needs it; without pyplot no display is looked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    drawn = []
    for e in results["estimates"]:
        points = [r for r in e["running"] if None not in r.values()]
        steps = [r["step"] for r in points]
        low, high = (
            [r["nats"] + side * 2 * r["standard_error"] for r in points] for side in (-1, 1)
        )
        drawn += low + high
        (line,) = axes.plot(steps, [r["nats"] for r in points], label=f"{e['name']} ({e['kind']})")
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    if max(map(abs, drawn), default=0) > _LARGEST:
        # An estimator that diverges would flatten all others.
        axes.set_yscale("symlog", linthresh=_LARGEST)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xlabel("step")
    axes.set_ylabel("total correlation, validation examples (nats)")
    axes.legend()
    figure.savefig(path, dpi=120)
