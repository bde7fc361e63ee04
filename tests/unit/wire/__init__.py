"""Tests of the wire trackers: streams made by hand, and streams recorded from real drivers and servers."""
