"""Measurements, each with a peer or a limit beside ours in the same run. ``make bench`` runs all.

CPU-seconds are those of the whole process that is measured, the log client's threads included; the
broker and the databases are processes of their own. Machines are noisy: medians and ratios count.
"""
