"""Jobs by their names: what ``reconcile.toml`` says of them, beside what is typed and the environment.

What may live here: the file and its rules. What a job then means is ``config``'s, as if it had been typed.
"""
