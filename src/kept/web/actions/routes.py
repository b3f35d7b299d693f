"""The addresses of actions: GET says what will happen, POST does it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Route

from kept.digest import digest
from kept.errors import KeptError
from kept.web.actions.forms import back_of, parse, read_form
from kept.web.actions.jobs import Jobs
from kept.web.actions.notes import send_note
from kept.web.actions.once import Once
from kept.web.answer import page_response, status_of
from kept.web.page import Page
from kept.web.verbs.all_verbs import VERBS
from kept.web.verbs.plan import Plan, Shown, Verb
from kept.web.verbs.upkeep import Gc, Verify

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kept.store.store import Store
    from kept.web.page import Frame
    from kept.web.query import Query

_CHANGED = 409


class Actions:
    """Answers the requests for actions of one store."""

    def __init__(self, store: Store, frame: Frame) -> None:
        self._store, self._frame = store, frame
        self._jobs, self._once = Jobs(), Once()

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [
            Route("/actions/{verb}", self._act, methods=["GET", "POST"]),
            Route("/jobs/{number:int}/", self._job),
        ]

    async def _act(self, request: Request) -> Response:
        verb = VERBS.get(request.path_params["verb"])
        if verb is None:
            raise HTTPException(404, "There is no such action.")
        if request.method != "POST":
            return await run_in_threadpool(self._show, request, verb, parse(request.url.query))
        if self._frame.read_only:
            raise HTTPException(403, "This page was started with --read-only.")
        form = await read_form(request)
        return await run_in_threadpool(self._answer, request, verb, form)

    def _show(self, request: Request, verb: Verb, form: Query) -> Response:
        plan, error = _planned(self._store, verb, form)
        return self._page(request, _shown(verb, form, plan, error), form)

    def _answer(self, request: Request, verb: Verb, form: Query) -> Response:
        """Carry a form out, or show why not, with what was typed."""
        key = digest(f"{verb.name}{form}".encode())
        try:
            with self._once.answer(key) as answer:
                where = answer.address = answer.address or self._carry_out(request, verb, form)
        except _ChangedError as changed:
            plan, error = changed.plan, changed.error
            shown = _shown(verb, form, plan, error, is_changed=error is None)
            return self._page(request, shown, form)
        except (KeptError, OSError) as error:
            plan, _ = _planned(self._store, verb, form)
            return self._page(request, _shown(verb, form, plan, error), form)
        place, _, note = where.partition("\n")
        response = RedirectResponse(place, 303)
        if note:
            send_note(response, note)
        return response

    def _carry_out(self, request: Request, verb: Verb, form: Query) -> str:
        """Do what the form says; return where to go, and the key of the note."""
        plan, error = _planned(self._store, verb, form)
        if plan is None or plan.digest != form.get("plan"):
            raise _ChangedError(plan, error)
        if isinstance(verb, (Gc, Verify)):
            job = self._jobs.start(self._store, verb, plan)
            return f"../jobs/{job.number}/"
        done = verb.do(self._store, plan)
        back = back_of(request, form) if "back" in form else None
        place = next(each for each in (done.back, back, plan.back) if each is not None)
        return f"../{place}\n{request.app.state.notes.add(done)}"

    def _page(self, request: Request, shown: Shown, form: Query) -> Response:
        back = back_of(request, form)
        values = {"shown": shown, "back": back, "key": secrets.token_urlsafe(9)}
        return page_response(Page("action.html", shown.title, values, shown.status),
                             self._frame, request)  # fmt: skip

    def _job(self, request: Request) -> Response:
        job = self._jobs.find(request.path_params["number"])
        return page_response(Page("job.html", job.title, {"job": job}), self._frame, request)


class _ChangedError(Exception):
    """The store does not lead to the plan that the form confirms."""

    def __init__(self, plan: Plan | None, error: KeptError | OSError | None) -> None:
        super().__init__()
        self.plan, self.error = plan, error


def _planned(
    store: Store, verb: Verb, form: Query
) -> tuple[Plan | None, KeptError | OSError | None]:
    """Return what will happen, or why nothing can; neither if something must be typed first."""
    if not verb.is_ready(form):
        return None, None
    try:
        return verb.plan(store, form), None
    except (KeptError, OSError) as error:
        return None, error


def _shown(
    verb: Verb,
    form: Query,
    plan: Plan | None,
    error: KeptError | OSError | None,
    *,
    is_changed: bool = False,
) -> Shown:
    status = _CHANGED if is_changed else 200 if error is None else status_of(error)
    return Shown(
        verb=verb.name,
        title=plan.title if plan else verb.title,
        fields=tuple((each, form.get(each.name)) for each in verb.inputs),
        hidden=tuple((name, text) for name in verb.keys for text in form.all(name)),
        plan=plan,
        error=None if error is None else str(error),
        is_changed=is_changed and plan is not None,
        status=status,
        previews=verb.previews,
    )
