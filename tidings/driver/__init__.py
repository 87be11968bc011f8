"""Flows in virtual time: one thread, a log in memory, a clock in the hand.

    driver    a flow's intake and keyed part and lanes behind them, run by the log's time
    ports     people, suppressions, templates and caps from plain values
    courier   providers that answer as a script says, when their latency has passed
    outputs   what came out, step by step
    cases     what may stand in a *.test.yaml        given   the people and providers of a case
    names     whether its names lead somewhere       suite   loads such a file and runs it
    replies   what providers answer in a case        callbacks  what they tell later
    verdict   what was expected against what came    report  the same for people and for tools
    rehearsal a flow on records of now, and nothing is sent
    backtest  a recorded log through two versions    version  one of them: its two sides of the cut
    replay    what is behind the cut, without units  decided  its batches: they count, nothing more
    aftermath what became of deliveries              tally    what each decided, and who differs

The units are those of production, operators included; only what moves them is another. A backtest
does without those behind the cut: the steps are the same.
"""

from tidings.driver.driver import Driver

__all__ = ["Driver"]
