"""From a plan to a Bytewax dataflow.

plan ──► steps ──► units ──► dataflow

steps     every step of a flow or lane, built under the settings: what `check` looks at
units     intake, keyed part, lane and receipts: what tests drive without an engine
dataflow  units side by side, as Bytewax runs them: nothing else imports it
"""
