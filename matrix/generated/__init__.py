"""Generated programs: plain data, its interpreter and printer, the strategies that draw it, and the search that judges
and shrinks it. Only ``strategies`` and ``search`` know hypothesis."""
