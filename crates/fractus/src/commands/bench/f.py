"""Sleeps, or keeps a processor busy, for as long as the event says."""

import os
import time

# Whoever imports this is an instance.
INSTANCE = os.urandom(8).hex()


def spin(seconds):
    """Works until this thread has had so much processor time, however long that takes."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def f(event):
    if event["spin"]:
        spin(event["seconds"])
    else:
        time.sleep(event["seconds"])
    return {"instance": INSTANCE}
