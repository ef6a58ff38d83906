"""Manipulations made from any photographs: regions, what is done to them, and streams of examples. Numpy only."""
