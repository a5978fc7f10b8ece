"""Push a folder to an SFTP server, and remember what was sent.

    scan(folder)              what is here            scan.py
    diff(snapshot, scan)      what differs            diff.py
    make_plan(changes)        the fewest steps        plan.py, moves.py, order.py
    apply(plan, line)         outcomes, as they come  apply.py, remotes/
    fold(snapshot, outcomes)  what is now true        fold.py
    save_snapshot(...)        for the next run        state/

``run.py`` is this pipeline; ``model.py`` has all its nouns.
"""

__version__ = "0.1.0"
