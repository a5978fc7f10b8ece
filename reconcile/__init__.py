"""Push a folder to an SFTP server, and remember what was sent.

    scan(folder)              what is here            source/scan.py
    diff(snapshot, scan)      what differs            core/diff.py
    make_plan(changes)        the fewest steps        core/plan.py, moves.py, order.py
    apply(plan, remote)       outcomes, as they come  apply/levels.py, remotes/
    fold(snapshot, outcomes)  what is now true        core/fold.py
    save_snapshot(...)        for the next run        state/

``run.py`` is this pipeline; ``core/model.py`` has what goes through it, ``core/job.py`` what it is told.
"""

__version__ = "0.1.0"
