"""What scenarios are written with: sessions, the wire gate, schedules, the history, the checker, the witness,
evidence."""
