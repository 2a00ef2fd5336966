"""Altitude control of a blimp by evolved spiking networks that answer like a PID.

After S. Burgers, S. Stroobants, G. de Croon, "Evolving spiking neural networks to mimic PID control
for autonomous blimps", 2023 (arXiv:2309.12937). docs/blimp.md tells what is done here and how well.
"""
