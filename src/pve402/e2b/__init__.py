"""E2B's API on loopback, for programs written for E2B's SDKs: sandboxes are leased containers.

    control     sandboxes: made, listed, extended and ended, each paid by the local wallet
    envd        what E2B's agent in a sandbox offers: processes, files, a health check
    guests      runs our script in containers, which has no agent in it

Nothing else of pve402 needs it, and it knows the service by the SDK and the client only.
"""
