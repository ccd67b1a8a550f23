"""Onboarding: a small, whole example. A user is fetched, routed by type, served, and welcomed by mail.

Edit `DEFAULT_USER_TYPE` below while `orchestrator dev` runs, save, and run the workflow again: the other path is taken.
The same is had without editing by the run's input, `{"user_type": "standard"}`, or by the params of `step_get_user`.

The systems that the nodes speak to (a user directory, a support desk, a mail server) are played by this file and by the
local outbox. Everything else is as it would be: effects, idempotency keys, a recorded step, a decision with its reason.
"""

import asyncio
import hashlib
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, Field, ValidationError

from orchestrator.sdk import (
    BaseNode,
    Context,
    Effect,
    Outbox,
    OutboxMessage,
    PermanentFailure,
    Route,
)

UserType = Literal["premium", "standard"]

# ┌──────────────────────────────────────────────────────────────────────────────────────────┐
# │ Who comes in when nobody says otherwise: "premium" or "standard". Edit, save, run again. │
# └──────────────────────────────────────────────────────────────────────────────────────────┘
DEFAULT_USER_TYPE: UserType = "premium"

WORK_SECONDS = 0.15
"""How long each of the systems takes to answer, so that one sees the nodes light up."""

_DIRECTORY = {
    "premium": {
        "id": "u-1001",
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "plan": "Premium, yearly",
    },
    "standard": {"id": "u-2001", "name": "Sam Miller", "email": "sam@example.com", "plan": "Standard"},
}


class User(BaseModel):
    """A user as the directory knows them."""

    id: str
    name: str
    email: str
    type: UserType
    plan: str


class Found(BaseModel):
    """A user who was found."""

    user: User


class Escalated(Found):
    """A user whom premium support takes care of."""

    support_ticket: str


class Prepared(Found):
    """A user whose account is prepared, with what they are to do first."""

    checklist: list[str]


class Arrived(Found):
    """What may have been done for a user by the time the welcome mail is written."""

    support_ticket: str | None = None
    checklist: list[str] = []


class GetUserDataNode(BaseNode):
    """Fetch the user's data.

    The type is that of the run's input (`user_type`), else of the params, else `DEFAULT_USER_TYPE` in this node's file.
    Name and e-mail may be given the same ways (`name`, `email`).
    """

    effect = Effect.READ
    family = "onboarding"
    icon = "user"
    Output = Found

    class Params(BaseModel):
        user_type: UserType | None = Field(
            None,
            description="Whom to fetch, unless the run's input says.",
            json_schema_extra={"x-input": True},
        )
        name: str | None = Field(None, min_length=1, max_length=200, description="The user's name.")
        email: str | None = Field(
            None, min_length=3, max_length=320, description="Where the welcome mail goes."
        )

    async def execute(self, params: Params, ctx: Context) -> Found:
        asked = _map(ctx.input)
        user_type = _known_type(asked.get("user_type") or params.user_type or DEFAULT_USER_TYPE)
        ctx.log(f"looking up a {user_type} user in the directory")
        await asyncio.sleep(WORK_SECONDS)
        record = dict(_DIRECTORY[user_type])
        for field, value in (("name", params.name), ("email", params.email)):
            record[field] = _text(asked.get(field), field) or value or record[field]
        user = User.model_validate({**record, "type": user_type})
        ctx.log(f"found {user.name}, {user.email}, a {user.type} user")
        return Found(user=user)


class RouteUserByTypeNode(BaseNode):
    """Choose the way by the user's type.

    Premium goes to `step_escalate`, standard to `step_standard_process`; or, where `next_node` is a map, to its labels
    `premium` and `standard`.
    """

    effect = Effect.PURE
    family = "onboarding"
    icon = "route"
    routes = ("step_escalate", "step_standard_process")

    async def execute(self, params: BaseModel, ctx: Context) -> Route:
        found = _arrived(ctx)
        user_type = found.user.type
        step = "step_escalate" if user_type == "premium" else "step_standard_process"
        target = step if step in ctx.allowed_routes else user_type
        output = found.model_dump(exclude_unset=True)
        return Route(target, output=output, reason=f'user.type is "{user_type}"', by="rule")


class EscalateToPremiumSupportNode(BaseNode):
    """Open a ticket with premium support, so that somebody greets the user in person."""

    effect = Effect.WRITE
    family = "onboarding"
    icon = "people"
    Output = Escalated

    async def execute(self, params: BaseModel, ctx: Context) -> Escalated:
        user = _arrived(ctx).user
        ctx.log(f"asking premium support to greet {user.name}")
        key = ctx.step_idempotency_key("open_ticket")
        ticket = await ctx.step("open_ticket", _open_ticket, user.id, key)
        ctx.log(f"premium support has taken ticket {ticket}")
        return Escalated(user=user, support_ticket=ticket)


class ProcessStandardUserNode(BaseNode):
    """Prepare the account of a standard user: the plan, and the checklist of the first days."""

    effect = Effect.WRITE
    family = "onboarding"
    icon = "tool"
    Output = Prepared

    async def execute(self, params: BaseModel, ctx: Context) -> Prepared:
        user = _arrived(ctx).user
        checklist = ["Confirm your e-mail address", "Set up your profile", "Take the two-minute tour"]
        await asyncio.sleep(WORK_SECONDS)
        ctx.log(f"prepared the account of {user.name} with a checklist of {len(checklist)} things")
        return Prepared(user=user, checklist=checklist)


class SendWelcomeEmailNode(BaseNode):
    """Send the welcome mail. It lands in the local outbox, once, however often the node is tried."""

    effect = Effect.WRITE
    family = "onboarding"
    icon = "mail"

    async def execute(self, params: BaseModel, ctx: Context) -> dict[str, Any]:
        found = _arrived(ctx)
        user = found.user
        await asyncio.sleep(WORK_SECONDS)
        message = OutboxMessage(
            to=user.email,
            subject=f"Welcome, {user.name}!",
            body=_welcome(found),
            run=ctx.run_id,
            path=ctx.path,
            node=ctx.node_id,
        )
        outbox = Outbox.from_environment()
        sent = await asyncio.to_thread(outbox.deliver, message, idempotency_key=ctx.idempotency_key)
        ctx.log(f"the welcome mail to {user.email} is in the outbox")
        return {"to": sent.to, "subject": sent.subject, "message_id": sent.id, "user_type": user.type}


def _map(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _known_type(value: object) -> UserType:
    for known in get_args(UserType):
        if value == known:
            return known
    raise PermanentFailure(f'user_type is {value!r}; known are "premium" and "standard"')


def _text(value: object, field: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise PermanentFailure(f"`{field}` in the run's input is {value!r}; give a text")
    return value


def _arrived(ctx: Context) -> Arrived:
    """The user in what led here, whichever way they came; of several the latest.

    A node in between may have passed on the map of a join, so the values of a map are looked at too.

    Raises:
        PermanentFailure: there is none.
    """
    for arrival in reversed(ctx.arrivals):
        output: object = arrival.output
        for candidate in (output, *reversed(_map(output).values())):
            try:
                return Arrived.model_validate(candidate)
            except ValidationError:
                continue
    came = ", ".join(f"`{arrival.node}`" for arrival in ctx.arrivals) or "nothing"
    raise PermanentFailure(
        f"there is no user in what led here ({came}); a GetUserDataNode has to come before"
    )


async def _open_ticket(user_id: str, idempotency_key: str) -> str:
    """What a support desk does: a ticket per key, the same one if it is asked again."""
    await asyncio.sleep(WORK_SECONDS)
    number = int(hashlib.sha256(f"{user_id}/{idempotency_key}".encode()).hexdigest()[:6], 16)
    return f"PS-{number % 90_000 + 10_000}"


def _welcome(found: Arrived) -> str:
    user = found.user
    lines = [f"Dear {user.name},", "", f"welcome aboard! Your plan: {user.plan}.", ""]
    if found.support_ticket is not None:
        lines.append(f"Your personal contact will call you today; the ticket is {found.support_ticket}.")
    if found.checklist:
        lines += ["Your first steps:", *(f"  - {item}" for item in found.checklist)]
    return "\n".join([*lines, "", "See you soon,", "the onboarding team", ""])
