"""Figures from arrays: pure functions that know neither models nor trainers."""
