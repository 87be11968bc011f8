"""Pretended providers for rehearsals: a server that speaks APNs, FCM, SES, SendGrid and Twilio.

    request ──► http2, http1 ──► Simulator ──► apns, fcm, ses, sendgrid, twilio ──► answer
                                   │   │
                                   │   └─► journal.jsonl      what it got, before it answers
                                   └─────► callbacks          what becomes of it later, signed

What goes wrong is in a scenario (`scenario`), whose script is the sandbox's with the wire's own
troubles added. On loopback alone; it knows what a client must do right, and no more: it is for
rehearsals, and never proves by itself that a sender is right.
"""
