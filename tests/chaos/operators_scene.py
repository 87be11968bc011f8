"""A flow with every operator that decides, for the scenario that kills it: see `replay`.

A post goes to each of its followers; what each hears of it is thinned out, gathered in every kind
of window, held, limited, drawn into an experiment and capped.
"""

from __future__ import annotations

from tests.chaos import scene

FOLLOWERS = 3
LONGEST = 60.0
"""Seconds that the longest window is open: a calendar's, of a minute."""

FLOW = f"""
flow: social
source: {{topic: {scene.SOURCE}, key: recipient_id, id: event_id}}
steps:
  - filter: {{keep: actor_id != recipient_id, reason: own_action}}
  - dedupe: {{by: event_id, within: 1h}}
  - expire: {{after: 6h}}
  - split: followers
  - lookup: {{people: [zone, quiet], otherwise: {{zone: UTC}}}}
  - throttle: {{at_most: 1, within: 2s, by: [photo_id]}}
  - set: {{score: len(event_id)}}
  - switch:
      cases:
        - name: likes
          when: type == 'like'
          steps:
            - digest: {{by: [type, photo_id, zone, quiet], window: 1s, leading: true, keep: last 3,
                        actors: actor_id, max_items: 8, fields: [event_id]}}
        - name: comments
          when: type == 'comment'
          steps:
            - fan_out:
                - name: soon
                  steps:
                    - digest: {{by: [type, photo_id, zone, quiet], gap: 500ms, max_wait: 2s,
                                min_items: 2, keep: first 3, fields: [event_id]}}
                - name: summary
                  when: photo_id == 'photo-1'
                  steps:
                    - digest: {{by: [type, zone, quiet], at: '* * * * *', zone: zone,
                                keep: top 3 by score, fields: [event_id]}}
      else:
        - hold: {{delay: 400ms, jitter: 300ms, quiet: 22:00-08:00, own_quiet: quiet, zone: zone,
                  then: downgrade}}
  - limit: {{at_most: 3, within: 20s, by: [type]}}
  - assign: {{experiment: tone, arms: {{plain: 1, bold: 1}}, holdout: 0.1}}
  - consent: {{category: social}}
  - cap: {{channel: push, at_most: 12, within: 7d}}
  - deliver: {{to: push, priority: normal, template: gathered, expires: 6h}}
"""
EVERY = scene.Script(FLOW, {"gathered": "{{ type }}"}, 300)
