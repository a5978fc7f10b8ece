"""When a job runs by itself: told in the words of whoever is to start it, and handed over to them.

What may live here: that. Nothing of ours stays at work for it.
"""
