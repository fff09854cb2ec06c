"""What phones ask of a class, in routes of our own beside Streamlit's: no answer of a student takes a script run.

`GET /join` and `/join/CODE` give the page; `POST /class/CODE/join` lets a student in; `GET /class/CODE/me` and `/state`
say where student and class are, the latter when there is news; `POST /class/CODE/answer` is confirmed once it is on the
disk. What needs the engine is imported when it is asked for: the server starts before.
A student is who has a token, which the phone has made of 128 random bits; nothing else is told of anybody.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from explorer.teaching.broadcast import BROADCAST
from explorer.teaching.limits import Limit
from explorer.teaching.writer import WRITER
from explorer.uploads import is_from_here

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from explorer.teaching.courses import Course

T = TypeVar("T")
PATIENCE = 12.0  # seconds that a phone is kept waiting for news
MAX_BODY = 4096
ENTER, COOKIE, MAX_AGE = "/class/enter", "quant_explorer_teacher", 24 * 3600  # of the teacher, seconds
KEY, ADDRESS = "QUANT_EXPLORER_TEACHER_KEY", "QUANT_EXPLORER_CLASS_ADDRESS"  # set by the command line
TOKEN = re.compile(r"[0-9a-f]{32}")
CODE = re.compile(r"[A-Z0-9]{1,12}")
OF_TOKEN = Limit(burst=40, per_second=4)
OF_ADDRESS = Limit(burst=4000, per_second=400)  # a class shares one
JOINS = Limit(burst=400, per_second=2)  # of an address: one student cannot fill a class with others for long
GUESSES = Limit(burst=60, per_second=0.5)  # codes that there are not, of an address


def class_routes() -> list[Route]:
    """Return the routes of a server that holds classes."""
    from starlette.routing import Route

    return [
        Route("/join", _page),
        Route("/join/{code}", _page),
        Route(ENTER, _enter),
        Route("/class/{code}/join", _join, methods=["POST"]),
        Route("/class/{code}/me", _me),
        Route("/class/{code}/state", _state),
        Route("/class/{code}/answer", _answer, methods=["POST"]),
    ]


async def _page(request: Request) -> Response:
    from starlette.responses import HTMLResponse

    from explorer.teaching.phone import phone_page, policy, wanted_language

    asked = request.query_params.get("lang", "") or request.headers.get("accept-language", "")
    headers = {**PLAIN, "Content-Security-Policy": policy()}
    return HTMLResponse(phone_page(wanted_language(asked)), headers=headers)


async def _enter(request: Request) -> Response:
    """Give the teacher's browser the key that its link has, and lead it to the page, whose address has none."""
    from starlette.responses import RedirectResponse

    answer = RedirectResponse("/classroom", HTTPStatus.SEE_OTHER, headers=PLAIN)
    key = request.query_params.get("key", "")[:200]
    answer.set_cookie(COOKIE, key, max_age=MAX_AGE, httponly=True, samesite="strict")
    return answer


async def _join(request: Request) -> Response:
    from explorer.teaching.answers import FullClassError
    from explorer.teaching.kept import classes
    from quant_engine import QuantError

    code, token = _asker(request)
    nickname = (await _body(request)).get("nickname")
    if not isinstance(nickname, str):
        return _told(HTTPStatus.BAD_REQUEST)
    if await _course(request, code) is None:
        return _told(HTTPStatus.NOT_FOUND)
    if not JOINS.allows(_address(request)):
        return _told(HTTPStatus.TOO_MANY_REQUESTS)
    try:
        await _aside(lambda: classes().join(code, token, nickname))
    except FullClassError:
        return _told(HTTPStatus.FORBIDDEN)
    except QuantError:
        return _told(HTTPStatus.BAD_REQUEST)
    return _told(HTTPStatus.OK, nickname=await _aside(lambda: classes().nickname(code, token)))


async def _me(request: Request) -> Response:
    code, token = _asker(request)
    status, nickname = await _student(request, code, token)
    return _told(status, nickname=nickname)


async def _state(request: Request) -> Response:
    """Say where the class is, at once if the phone does not know, else when it moves on or patience ends."""
    code, token = _asker(request)
    seen, have = (_whole(request.query_params.get(name, "")) for name in ("seen", "have"))
    status, _ = await _student(request, code, token)
    if status != HTTPStatus.OK:
        return _told(status)
    course = await _at_news(request, code, seen)
    if course is None:
        return _told(HTTPStatus.NOT_FOUND)
    spoken = request.query_params.get("lang", "")
    return _told(HTTPStatus.OK, **await _aside(lambda: _view(course, token, have, spoken)))


async def _at_news(request: Request, code: str, seen: int) -> Course | None:
    """Return a class as soon as it is elsewhere than was seen, or as it is when patience ends."""
    with BROADCAST.listening(code) as news:
        course = await _course(request, code)
        if course is None or course.revision != seen:
            return course
        try:
            await asyncio.wait_for(news.wait(), PATIENCE)
        except TimeoutError:
            return course
    return await _course(request, code)


async def _answer(request: Request) -> Response:
    """Keep an answer; when the phone hears OK, it is on the disk."""
    from explorer.teaching.answers import CLOSED, TAKEN, UNKNOWN, Given

    code, token = _asker(request)
    sent = await _body(request)
    question, turn = sent.get("question"), sent.get("round")
    if type(question) is not int or type(turn) is not int:
        return _told(HTTPStatus.BAD_REQUEST)
    became = await WRITER.keep(Given(code, token, question, turn, sent.get("value")))
    statuses = {TAKEN: HTTPStatus.OK, CLOSED: HTTPStatus.CONFLICT, UNKNOWN: HTTPStatus.UNAUTHORIZED}
    return _told(statuses.get(became, HTTPStatus.BAD_REQUEST))


def _view(course: Course, token: str, have: int, spoken: str) -> dict[str, Any]:
    """Return what one student may know of a class: the question, the own answers, others' as counts, the truth last.

    The question is said in the phone's language, where it is known in several.
    """
    from explorer.teaching.kept import classes
    from explorer.teaching.questions import asked, told
    from explorer.teaching.spread import spreads_of

    room, answers = course.room, classes()
    question = room.question.worded(spoken)
    own = answers.own(course.code, token, room.position)
    view: dict[str, Any] = {
        "revision": course.revision,
        "phase": room.phase,
        "position": room.position,
        "number": room.number,
        "total": len(room.questions),
        "round": room.round,
        "yours": {str(turn): value for turn, value in own.items()},
    }
    if room.phase not in ("lobby", "ended") and have != room.position:
        view["question"] = asked(question)
    if room.is_spread_shown:
        spreads = spreads_of(question, answers.votes(course.code, room.position))
        view["spread"] = {
            str(turn): {"edges": spread.edges, "counts": spread.counts} for turn, spread in spreads.items()
        }
    if room.is_revealed:
        view["told"] = told(question)
        view["right"] = question.is_right(own[max(own)]) if own else False
    return view


async def _student(request: Request, code: str, token: str) -> tuple[HTTPStatus, str | None]:
    """Return if a token is one of a class's, and the nickname; who guesses codes is stopped, students are not."""
    from explorer.teaching.kept import classes

    nickname = await _aside(lambda: classes().nickname(code, token))
    if nickname is not None:
        return HTTPStatus.OK, nickname
    found = await _course(request, code)
    return HTTPStatus.NOT_FOUND if found is None else HTTPStatus.UNAUTHORIZED, None


async def _course(request: Request, code: str) -> Course | None:
    """Return a class; who has asked for too many that there are not is told nothing."""
    from explorer.teaching.kept import classes

    known: Course | None = await _aside(lambda: classes().course(code))
    address = _address(request)
    if known is None:
        if not GUESSES.allows(address):
            raise _refusal(HTTPStatus.TOO_MANY_REQUESTS)
    elif GUESSES.is_spent(address) and await _aside(lambda: classes().nickname(code, _token(request))) is None:
        raise _refusal(HTTPStatus.TOO_MANY_REQUESTS)  # or the guess that is right would be told apart
    return known


def _asker(request: Request) -> tuple[str, str]:
    """Return code and token of a request that is in order.

    Raises:
        HTTPException: from a page of another server, without a token, and too often.
    """
    code, token = request.path_params["code"].upper(), _token(request)
    if not is_from_here(request):
        raise _refusal(HTTPStatus.FORBIDDEN)
    if not (CODE.fullmatch(code) and TOKEN.fullmatch(token)):
        raise _refusal(HTTPStatus.BAD_REQUEST)
    if not (OF_ADDRESS.allows(_address(request)) and OF_TOKEN.allows(token)):
        raise _refusal(HTTPStatus.TOO_MANY_REQUESTS)
    return code, token


async def _body(request: Request) -> dict[str, Any]:
    """Return what a phone sends, a small object of JSON."""
    held = bytearray()
    async for chunk in request.stream():
        held += chunk
        if len(held) > MAX_BODY:
            raise _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        found = json.loads(held)
    except (ValueError, RecursionError) as error:
        raise _refusal(HTTPStatus.BAD_REQUEST) from error
    if not isinstance(found, dict):
        raise _refusal(HTTPStatus.BAD_REQUEST)
    return found


async def _aside(work: Callable[[], T]) -> T:
    """Do what reads or writes the disk in a thread."""
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(work)


def _token(request: Request) -> str:
    return str(request.headers.get("x-student", ""))


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1


PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def _told(status: HTTPStatus, **values: Any) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(values, status, PLAIN)


def _refusal(status: HTTPStatus) -> Exception:
    from starlette.exceptions import HTTPException

    return HTTPException(status)
