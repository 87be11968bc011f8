"""The demo: the whole road on sample traffic, watched live, and counted by an account of its own.

events      what the sample services say, a function of a seed
upstreams   the process that appends it to the log, as any upstream would
account     what was emitted, and what became of it: from the log alone
scene       what people got, what was gathered and held, as the log and the sandbox tell it
screen      the scene, drawn
summary     the account, as JSON and as words
show        all of it together
"""
