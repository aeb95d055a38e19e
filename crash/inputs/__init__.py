"""Inputs that no tool writes: mutations of small real ones, through every format and notation."""
