"""Trained spiking networks on microcontrollers and watches, bit for bit as in Python."""
