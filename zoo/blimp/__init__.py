"""What was fitted and evolved for the blimp of docs/blimp.md, and the recipes that made it."""

from pathlib import Path

HERE = Path(__file__).parent
PLANT = HERE / "plant.json"
RESULTS = HERE / "results.json"
