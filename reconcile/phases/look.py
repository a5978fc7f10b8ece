"""The first phase: the folder is scanned, and what is ours or to be noted in it is told."""

from __future__ import annotations

import os

from msgspec.structs import replace

from reconcile.core.chosen import young_since
from reconcile.core.filters import Filter, make_filter
from reconcile.core.growing import Growing
from reconcile.core.hidden import DEFAULT_EXCLUDES, tell_history, tell_left_out
from reconcile.core.idle import idle_patterns
from reconcile.core.job import Job, Own
from reconcile.core.model import (
    Plan,
)
from reconcile.phases.held import Held
from reconcile.source.doubt import holding_dest, leave_alone, lost_mounts, still_mounts
from reconcile.source.files import Source
from reconcile.source.ignorefile import read_ignore_file
from reconcile.source.own import (
    identify_own,
    line_for,
    note_own,
    refuse_shared,
    tell_secrets,
    tell_sent_before,
    work_in_dest,
)
from reconcile.source.scan import scan
from reconcile.source.sparse import tell_sparse
from reconcile.state.growing import known_growing
from reconcile.state.mounts import recall_mounts, remember_mounts


def look(run: Held, *, sure_to_connect: bool = False) -> None:
    """Scan the folder, and connect meanwhile if that is sure to be needed."""
    job, options = run.job, run.job.options
    with run.phase("scan"):
        root = os.path.realpath(job.source)  # once: it may be a link, and turn
        lines = _read_lines(job, root)
        own, work = options.own, work_in_dest(job.target.path, options.remote_workdir)
        run.filter = make_filter(lines, [*map(line_for, (*own, *work))])
        meanwhile = run.remote.open_soon if sure_to_connect else None
        ours = identify_own(job.state, options.own_files)
        run.found = scan(root, run.filter, options, meanwhile, ours)
        if run.found.own:
            own = (*own, *_found_own(run))
            run.filter = make_filter(lines, [*map(line_for, (*own, *work))])
        may_grow = Growing(options.growing, known_growing(job.state))
        source = run._source = run.stack.enter_context(Source(root, options.links, may_grow, options.chmod))
        chosen = make_filter(lines)
        refuse_shared(work, source, chosen)
        source.exact = job.reviewed is not None
        if options.min_age is not None:
            source.since_ns = young_since(options.min_age, run.found.started_ns)
        run.found = replace(run.found, notes=(*run.found.notes, *note_own((*own, *work), source)))
    for idle in idle_patterns(chosen, (job.source, root), lambda name: source.look(name) is not None):
        run.reporter.say(idle)
    if (left_out := tell_left_out(run.found.left_out)) is not None:
        run.reporter.say(left_out)


def find_filter(job: Job) -> Filter:
    """What a run would leave out, as far as that is known without a scan. Raises as ``look`` does."""
    work = work_in_dest(job.target.path, job.options.remote_workdir)
    own = map(line_for, (*job.options.own, *work))
    return make_filter(_read_lines(job, os.path.realpath(job.source)), [*own])


def _read_lines(job: Job, root: str) -> tuple[str, ...]:
    always = DEFAULT_EXCLUDES if job.options.default_excludes else ()  # first: all else may take back in
    return (*always, *read_ignore_file(root), *job.options.filters)


def _found_own(run: Held) -> tuple[Own, ...]:
    """What of ours the scan came upon by other names than ours."""
    return tuple(Own(path, what) for path, what in run.found.own.items())


def mind_places(run: Held, *, repair: bool) -> None:
    """Leave alone where DEST itself is, and what lost its mount, unless it was said that it may go."""
    run.found = leave_alone(run.found, holding_dest(run.old, run.found))
    before = recall_mounts(run.job.state)
    if not run.job.options.allow_mass_delete:
        run.found = leave_alone(run.found, lost_mounts(run.old, run.found, before, run.filter))
    if repair:
        remember_mounts(run.job.state, still_mounts(run.found, before))


def tell_contents(run: Held, plan: Plan) -> None:
    """What is not to be overlooked in what is to be sent: afterwards is too late."""
    for sparse in tell_sparse(plan, run.source):
        run.reporter.say(sparse)
    if (history := tell_history(plan)) is not None:
        run.reporter.say(history)
    for told in (*tell_sent_before((*run.job.options.own, *_found_own(run)), run.old), *tell_secrets(plan)):
        run.reporter.warn(told)
