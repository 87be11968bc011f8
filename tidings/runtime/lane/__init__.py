"""The lane: one channel at one priority, from its deliveries to the providers' answers.

    Arrivals     reads the deliveries and the rungs of the ladder, within what the lane has room for
    (steps)      expire, addresses, consent, suppress, render
    Dispatch     the sends: quotas, leases, retries; by Departures they get to the courier,
                 by Returns their answers come back
    Courier      the asyncio thread on which the senders live
    Settlement   outcomes, hand-overs to the ladder and to the next channel, dead letters
    Tracker      what is settled, and so what may be committed

Everything but the courier runs on the engine's thread, in `Lane.pull`, its stages and `Lane.push`.
"""
