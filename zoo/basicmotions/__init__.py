"""L2MU network for the four activities of the BasicMotions wrist recordings."""

from pathlib import Path

CHECKPOINT = Path(__file__).with_name("l2mu.ckpt")
