"""Numbers that are only quoted from the paper; none of them was measured by this library."""

SOURCE = (
    "TCMax (ICLR 2026, arXiv 2602.13015). Accuracies in percent; rho is the paper's entropy ratio. "
    "Training, splits and encoders need not be those of the runs on this page, so that a "
    "difference to them says little."
)
_TCMAX, _MMPARETO = "TCMax, shared head", "MMPareto"
# data.kind: [(what, quantity, value as printed there)].
NUMBERS = {
    "crema_d_av": [
        (_TCMAX, "accuracy", "82.7"),
        (_MMPARETO, "accuracy", "74.4"),
        ("TCMax", "rho", "1.549"),
        ("joint training, concat head", "rho", "2.913"),
    ],
    "kinetics_sounds": [(_TCMAX, "accuracy", "63.5"), (_MMPARETO, "accuracy", "62.7")],
    "ave": [(_TCMAX, "accuracy", "64.5"), (_MMPARETO, "accuracy", "63.1")],
    "vggsound": [(_TCMAX, "accuracy", "47.6"), (_MMPARETO, "accuracy", "46.2")],
    "ucf101_flow": [(_TCMAX, "accuracy", "56.0"), (_MMPARETO, "accuracy", "55.9")],
    "mvsa_features": [
        ("TCMax, ViT-B/32", "accuracy", "84.05"),
        ("joint training, ViT-B/32", "accuracy", "82.83"),
    ],
}
