"""What comes last: no page is there before what it names, and none is left when that has gone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.core.errors import UsageError
from reconcile.core.guard import guard
from reconcile.core.job import Options
from reconcile.core.last import comes_last
from reconcile.core.model import Kind, Op, Plan
from reconcile.core.twins import fold_name
from tests.support.memory import visible
from tests.support.world import Steps, World, assert_done, ops, synced, trees

MIRROR = Options(mirror=True, allow_mass_delete=True)


def levels(plan: Plan) -> list[list[str]]:
    return [sorted(ops(Plan([level]))) for level in plan.levels]


def site() -> World:
    world = synced()
    for path in ("index.html", "about.html", "css/site.css", "img/a", "img/b", "app.js"):
        world.local.put(path, Kind.FILE, f"what {path} holds")
    world.reconcile(Options())
    return world


@pytest.mark.parametrize(
    ("path", "patterns", "is_last"),
    [
        ("index.html", (), True),
        ("deep/down/page.html", (), True),
        (".htaccess", (), True),
        ("index.php", (), True),
        ("feed.xml", (), False),
        ("html", (), False),
        ("feed.xml", ("*.xml",), True),
        ("page.html", ("*.xml",), True),
        ("page.html", ("!*.html",), False),
        ("index.php", ("!*.html",), True),
        ("page.html", ("!*",), False),
        ("app/page.html", ("!app/**",), False),
        ("other/page.html", ("!app/**",), True),
        ("api/v1.json", ("/api/*.json", "!*.html"), True),
    ],
)
def test_which_documents_come_last(path: str, patterns: tuple[str, ...], is_last: bool) -> None:
    assert comes_last(patterns)(path) is is_last


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="can't be understood"):
        comes_last(("!",))("x")


def test_new_files_then_changed_ones_then_documents_then_deletes() -> None:
    world = site()
    for path in ("index.html", "css/site.css", "new.png", "news.html"):
        world.local.put(path, Kind.FILE, f"{path}, new")
    world.local.remove("img/a")
    plan, outcomes = world.reconcile(MIRROR)
    assert levels(plan) == [
        ["create new.png"],
        ["modify css/site.css"],
        ["create news.html"],
        ["modify index.html"],
        ["delete img/a"],
    ]
    assert_done(outcomes)
    assert visible(world.remote) == visible(world.local.nodes)


def test_without_a_document_the_order_is_as_it_was() -> None:
    world = site()
    world.local.rename("img", "pictures")
    world.local.put("app.js", Kind.FILE, "changed")
    world.local.put("more.js", Kind.FILE, "new")
    plan, _ = world.reconcile(MIRROR)
    assert levels(plan) == [["move img pictures"], ["create more.js", "modify app.js"]]


def test_a_folder_that_moves_with_its_documents_is_one_rename() -> None:
    world = site()
    world.local.put("blog/index.html", Kind.FILE, "the blog")
    world.local.put("blog/style.css", Kind.FILE, "its style")
    world.reconcile(Options())
    world.local.rename("blog", "journal")
    plan, _ = world.reconcile(Options())
    assert ops(plan) == ["move blog journal"]


@pytest.mark.parametrize("options", [Options(), MIRROR])
def test_what_moves_is_there_twice_while_pages_change(options: Options) -> None:
    world = site()
    world.local.rename("img", "pictures")
    world.local.rename("css/site.css", "css/main.css")
    world.local.put("index.html", Kind.FILE, "names pictures and main.css")
    plan, outcomes = world.reconcile(options)
    assert levels(plan) == [
        ["mkdir pictures"],
        ["create css/main.css", "create pictures/a", "create pictures/b"],
        ["modify index.html"],
        ["delete css/site.css", "delete img"],
    ]
    again = {action.path: action.source for action in plan.actions if action.op is Op.CREATE}
    assert again == {"css/main.css": "css/site.css", "pictures/a": "img/a", "pictures/b": "img/b"}
    assert plan.bytes_to_send == len("names pictures and main.css")
    assert_done(outcomes)
    assert visible(world.remote) == visible(world.local.nodes)
    assert world.plan(options).empty


def test_what_can_not_be_sent_keeps_what_it_would_take_the_place_of() -> None:
    world = site()
    world.local.rename("css/site.css", "css/main.css")
    world.local.put("index.html", Kind.FILE, "names main.css")
    _, outcomes = world.reconcile(MIRROR, failing=frozenset({"css/main.css"}))
    assert {o.action.path for o in outcomes if o.problem} == {"css/main.css", "css/site.css"}
    assert "css/site.css" in world.remote
    world.reconcile(MIRROR)
    assert visible(world.remote) == visible(world.local.nodes)


def test_without_a_mirror_a_folder_stays_with_what_is_gone_in_it() -> None:
    world = site()
    world.local.rename("img/a", "pictures/a")
    world.local.remove("img")
    world.local.put("index.html", Kind.FILE, "names pictures")
    plan, outcomes = world.reconcile(Options())
    assert_done(outcomes)
    assert "delete img/a" in ops(plan)
    assert "img/b" in world.remote
    assert "img/a" not in world.remote
    assert world.plan(Options()).empty


def test_a_moved_file_does_not_count_as_deleted() -> None:
    world = site()
    for n in range(40):
        world.local.put(f"img/{n}", Kind.FILE, f"picture {n}")
    world.reconcile(Options())
    world.local.rename("img", "pictures")
    world.local.put("index.html", Kind.FILE, "names pictures")
    plan = world.plan(Options(mirror=True))
    guard(plan, world.snapshot, world.local.scan(), Options(mirror=True, max_delete="1"))


WITH_PAGES = st.tuples(
    st.sampled_from(["index.html", "a/index.html", "b/c/index.html"]), st.sampled_from(["", "one", "two"])
)


@settings(max_examples=150)
@given(trees(3), trees(1), WITH_PAGES, st.booleans())
def test_whatever_happens_both_sides_agree_and_nothing_goes_early(
    first: Steps, then: Steps, page: tuple[str, str], mirror: bool
) -> None:
    world = World()
    world.edit(first)
    world.reconcile(MIRROR)
    world.edit(then)
    world.local.put(page[0], Kind.FILE, page[1] or "a page")
    options = MIRROR if mirror else Options()
    plan, outcomes = world.reconcile(options)
    assert_done(outcomes)
    world.check_snapshot()
    assert world.plan(options).empty
    if mirror:
        assert visible(world.remote) == visible(world.local.nodes)
    else:
        there = visible(world.remote)
        assert all(there[path] == node for path, node in visible(world.local.nodes).items())
    arrivals = [action for action in plan.actions if action.op in (Op.CREATE, Op.MODIFY)]
    if any(action.path.endswith("index.html") for action in arrivals):
        moves = (action for action in plan.actions if action.op is Op.MOVE and not action.parks)
        assert all(fold_name(move.origin or "") == fold_name(move.path) for move in moves)
        turns = [2 * (a.path.endswith("index.html")) + (a.op is Op.MODIFY) for a in arrivals]
        assert turns == sorted(turns)


@pytest.mark.parametrize("options", [Options(), MIRROR])
def test_what_has_another_case_by_now_is_renamed_and_not_deleted_first(options: Options) -> None:
    world = site()
    for path in ("index.html", "about.html"):
        world.local.put(path, Kind.FILE, f"{path}, new")
    world.local.rename("app.js", "App.js")
    world.local.rename("img", "Img")
    plan, outcomes = world.reconcile(options)
    assert_done(outcomes)
    assert {action.op for action in plan.actions if action.path.lower() == "app.js"} == {Op.MOVE}
    assert not [action for action in plan.actions if action.keep or (action.op is Op.CREATE)]
    assert visible(world.remote) == visible(world.local.nodes)


def test_a_page_goes_before_what_it_names() -> None:
    world = site()
    world.local.remove("about.html")
    world.local.remove("app.js")
    plan, outcomes = world.reconcile(MIRROR)
    assert_done(outcomes)
    assert levels(plan) == [["delete about.html"], ["delete app.js"]]
