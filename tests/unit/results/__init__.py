"""Tests of matrix.results."""
