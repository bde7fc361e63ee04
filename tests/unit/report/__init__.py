"""Tests of matrix.report."""
