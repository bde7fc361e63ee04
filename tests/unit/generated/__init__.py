"""Tests of generated programs: that they are what they say, and that they find faults and accuse nobody falsely."""
