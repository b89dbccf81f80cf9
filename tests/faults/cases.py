"""The faults that docs/faults.md promises something about: each is injected in a pull and in an apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recon.sandbox.faults import Fault

QUERY = "/query"
#: So many of a pull's queries go before that of the Contacts: four counts, two newest stamps, two pages of Leads.
LEADS_READ = 8
PAGE = r"/jobs/query/\w+/results"
LOOK = r"/jobs/query/\w+$"
INGEST = r"/jobs/ingest/\w+$"
LEAD = "/sobjects/Lead/<ann_lead>"
REMOVE = "/people/<ann>/remove-unsubscribe"
PEOPLE = "^/people$"


@dataclass(frozen=True)
class Side:
    """What is injected, and what comes of it.

    Attributes
    ----------
    faults
        Injected; none of them is met where `met` is false, as nothing of that kind happens there.
    sees
        Of a change, in a pull: the snapshot is as it was before it, or after it; empty: some of both.
    exit, says
        The exit code, and what the user is told about it; nothing where recon mends it by itself.
    """

    faults: tuple[Fault, ...]
    exit: int = 0
    says: str = ""
    met: bool = True
    sees: str = ""


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes
    ----------
    writes
        How often the first apply sends the write that the fault is about: of Ann's Lead, or the removal of her unsubscribe. By jobs: None.
    way
        rest or bulk: how Salesforce is read and written.
    hasty
        recon waits for an answer only shortly.
    again
        What finishes the work: apply, or a new pull and plan.
    ends
        same: both systems end as without the fault; ann_out: Ann opted out anew, and stays so; less: as without the fault, but for
        the record that is gone.
    spares
        Nothing of Ann is cleared by the first apply.
    stops
        After the fault the first apply sends no write at all.
    """

    name: str
    pull: Side
    apply: Side
    writes: int | None = None
    way: str = "rest"
    hasty: bool = False
    again: str = "apply"
    ends: str = "same"
    spares: bool = False
    stops: bool = False


def fault(kind: str, **values: Any) -> Fault:
    return Fault.model_validate({"kind": kind} | values)


def reads(kind: str, **values: Any) -> Fault:
    """The second of Salesforce's queries."""
    return fault(kind, **{"system": "salesforce", "path": QUERY, "after": 1} | values)


def writes(kind: str, **values: Any) -> Fault:
    """The write of Ann's Lead."""
    return fault(kind, **{"system": "salesforce", "method": "PATCH", "path": LEAD} | values)


def pages(kind: str, **values: Any) -> Fault:
    """The second page of the gateway's list."""
    return fault(kind, **{"system": "gateway", "path": PEOPLE, "after": 1} | values)


def removes(kind: str, **values: Any) -> Fault:
    """The removal of Ann's unsubscribe."""
    return fault(kind, **{"system": "gateway", "method": "POST", "path": REMOVE} | values)


def both(name: str, times: int, kind: str, **values: Any) -> Case:
    """The same on Salesforce's queries and on its writes; so often the write is sent."""
    return Case(name, Side((reads(kind, **values),)), Side((writes(kind, **values),)), times)


def gateway(name: str, times: int, kind: str, **values: Any) -> Case:
    """The same on the gateway's list and on its changes; so often the change is sent."""
    return Case(name, Side((pages(kind, **values),)), Side((removes(kind, **values),)), times)


BUSY = "status 503, SERVER_UNAVAILABLE"
LIMIT = "The org's API calls of the last 24 hours are used up"

CASES = [
    both("session-ends", 2, "session"),
    Case(
        "session-ends-bulk",
        Side((fault("session", path=PAGE, query="locator="),)),
        Side((fault("session", path="/batches"), fault("session", path=INGEST, method="GET", after=1))),
        way="bulk",
    ),
    Case(
        "401-html",
        Side((reads("status", status=401, content="<html>Sign in</html>"),)),
        Side((writes("status", status=401, content="<html>Sign in</html>"),)),
        writes=2,
    ),
    Case(
        "session-never-good",
        Side((fault("session", path=QUERY, times="always"),), 1, "The session was refused twice"),
        Side((fault("session", path=QUERY, times="always"),), 1, "The session was refused twice"),
        writes=0,
    ),
    Case(
        "limit-used-up",
        Side((reads("status", status=403, times="always"),), 1, LIMIT),
        Side((writes("status", status=403, times="always"),), 3, LIMIT),
        writes=1,
        stops=True,
    ),
    Case(
        "429",
        Side((reads("status", status=429, headers={"Retry-After": "7"}),)),
        Side((writes("status", status=429, headers={"Retry-After": "7"}),)),
        writes=2,
    ),
    both("429-done", 1, "status", status=429, headers={"Retry-After": "7"}, carried_out=True),
    both("500", 2, "status", status=500),
    both("500-done", 1, "status", status=500, carried_out=True),
    both("502", 2, "status", status=502),
    both("503", 2, "status", status=503),
    Case(
        "503-stays",
        Side((reads("status", status=503, times="always"),), 1, BUSY),
        Side((writes("status", status=503, times="always"),), 3, "[SERVER_UNAVAILABLE] Apply the same plan again"),
        writes=3,
    ),
    Case(
        "503-at-login",
        Side((fault("status", path="/oauth2/token", status=503, times=2),)),
        Side((fault("status", path="/oauth2/token", status=503, times=2),)),
        writes=1,
    ),
    Case(
        "503-at-login-stays",
        Side(
            (fault("status", path="/oauth2/token", status=503, times="always"),),
            1,
            "could not be logged in to: status 503",
        ),
        Side(
            (fault("status", path="/oauth2/token", status=503, times="always"),),
            1,
            "could not be logged in to: status 503",
        ),
        writes=0,
    ),
    Case(
        "503-at-job",
        Side((fault("status", path="/jobs/query$", status=503, method="POST"),)),
        Side((fault("status", path="/jobs/ingest$", status=503, method="POST"),)),
        way="bulk",
    ),
    Case(
        "503-at-poll",
        Side((fault("status", path=LOOK, status=503, method="GET", times=2),)),
        Side((fault("status", path=INGEST, status=503, method="GET", times=2),)),
        way="bulk",
    ),
    Case(
        "503-at-poll-stays",
        Side((fault("status", path=LOOK, status=503, method="GET", times="always"),), 1, BUSY),
        Side(
            (fault("status", path=INGEST, status=503, method="GET", after=1, times="always"),),
            3,
            "whether it was done isn't known yet",
        ),
        way="bulk",
    ),
    Case("time-out", Side((reads("late"),)), Side((writes("late"),)), writes=2, hasty=True),
    Case(
        "time-out-done",
        Side((reads("late", carried_out=True),)),
        Side((writes("late", carried_out=True),)),
        writes=1,
        hasty=True,
    ),
    both("dropped", 2, "drop"),
    both("dropped-done", 1, "drop", carried_out=True),
    Case(
        "dropped-job",
        Side((fault("drop", path="/jobs/query$", method="POST", carried_out=True),)),
        Side(
            (
                fault("drop", path="/jobs/ingest$", method="POST", carried_out=True),
                fault("drop", path=INGEST, method="PATCH", carried_out=True),
            )
        ),
        way="bulk",
    ),
    Case(
        "dropped-and-away",
        Side((reads("drop", times="always"),), 1, "no connection, or it broke off"),
        Side(
            (
                writes("drop", carried_out=True),
                fault("drop", query=r"FROM Lead WHERE Id IN \('<ann_lead>'\)", after=1, times="always"),
            ),
            3,
            "Whether it was written isn't known",
        ),
        writes=1,
    ),
    Case(
        "login-page",
        Side((reads("status", status=200, content="<html>Sign in</html>"),), 1, "something that is not JSON"),
        Side((writes("status", status=200, content="<html>Sign in</html>"),)),
        writes=2,
    ),
    Case(
        "login-page-done",
        Side(
            (reads("status", status=200, content="<html>Sign in</html>", carried_out=True),),
            1,
            "something that is not JSON",
        ),
        Side((writes("status", status=200, content="<html>Sign in</html>", carried_out=True),)),
        writes=1,
    ),
    Case(
        "login-page-without-a-word",
        Side((reads("status", status=200, content="{}"),), 1, "doesn't say how many there are"),
        Side((writes("status", status=200, content="{}"),)),
        writes=2,
    ),
    Case("cut-length", Side((reads("cut"),)), Side((reads("cut"),)), writes=1),
    Case("cut-chunked", Side((reads("cut", framing="chunked"),)), Side((reads("cut", framing="chunked"),)), writes=1),
    Case("cut-no-length", Side((reads("cut", framing="none"),)), Side((reads("cut", framing="none"),)), writes=1),
    Case(
        "cut-length-bulk",
        Side((fault("cut", path=PAGE, query="locator="),)),
        Side((fault("cut", path="/successfulResults"),)),
        way="bulk",
    ),
    Case(
        "cut-no-length-bulk",
        Side((fault("cut", path=PAGE, query="locator=", framing="none"),), 1, "page 2 of Bulk query"),
        Side((fault("cut", path="/successfulResults", framing="none"),)),
        way="bulk",
    ),
    Case(
        "no-row-count",
        Side(
            (fault("headers", path=PAGE, remove=["Sforce-NumberOfRecords"], times="always"),),
            1,
            "came without Sforce-NumberOfRecords",
        ),
        Side((fault("headers", path="Results", remove=["Sforce-NumberOfRecords"], times="always"),)),
        way="bulk",
    ),
    Case(
        "wrong-row-count",
        Side(
            (fault("headers", path=PAGE, headers={"Sforce-NumberOfRecords": "2"}, times="always"),),
            1,
            "but Salesforce said 2",
        ),
        Side((fault("headers", path="Results", headers={"Sforce-NumberOfRecords": "2"}, times="always"),)),
        way="bulk",
    ),
    Case(
        "job-failed",
        Side((fault("job", state="Failed"),), 1, "ended as Failed"),
        Side((fault("job", state="Failed", rows=1),), 3, "The Bulk job did not come to it: apply the same plan again"),
        way="bulk",
    ),
    Case(
        "job-aborted",
        Side((fault("job", state="Aborted"),), 1, "ended as Aborted"),
        Side((fault("job", state="Aborted", rows=1),), 3, "The Bulk job did not come to it: apply the same plan again"),
        way="bulk",
    ),
    Case(
        "other-order",
        Side((fault("order", path=QUERY, times="always"),)),
        Side((fault("order", path=QUERY, times="always"),)),
        writes=1,
    ),
    Case(
        "other-order-bulk",
        Side((fault("order", path=PAGE, times="always"),)),
        Side((fault("order", path="Results", times="always"),)),
        way="bulk",
    ),
    Case(
        "no-charset",
        Side((fault("headers", path=PAGE, headers={"Content-Type": "text/csv"}, times="always"),)),
        Side((fault("headers", path="Results", headers={"Content-Type": "text/csv"}, times="always"),)),
        way="bulk",
    ),
    Case(
        "row-locked",
        Side((fault("row", code="UNABLE_TO_LOCK_ROW"),), met=False),
        Side((fault("row", code="UNABLE_TO_LOCK_ROW", path=LEAD, times=2),)),
        writes=3,
    ),
    Case(
        "row-locked-stays",
        Side((fault("row", code="UNABLE_TO_LOCK_ROW", times="always"),), met=False),
        Side(
            (fault("row", code="UNABLE_TO_LOCK_ROW", path=LEAD, times="always"),),
            3,
            "[UNABLE_TO_LOCK_ROW] Apply the same plan again",
        ),
        writes=3,
    ),
    Case(
        "row-locked-bulk",
        Side((fault("row", code="UNABLE_TO_LOCK_ROW"),), met=False),
        Side((fault("row", code="UNABLE_TO_LOCK_ROW", path=LEAD, times=2),)),
        way="bulk",
    ),
    Case(
        "validation-rule",
        Side((fault("row", code="FIELD_CUSTOM_VALIDATION_EXCEPTION"),), met=False),
        Side(
            (fault("row", code="FIELD_CUSTOM_VALIDATION_EXCEPTION", path=LEAD, times="always"),),
            3,
            "A validation rule of the org forbids it",
        ),
        writes=1,
        again="plan",
    ),
    Case(
        "validation-rule-bulk",
        Side((fault("row", code="FIELD_CUSTOM_VALIDATION_EXCEPTION"),), met=False),
        Side(
            (fault("row", code="FIELD_CUSTOM_VALIDATION_EXCEPTION", path=LEAD, times="always"),),
            3,
            "A validation rule of the org forbids it",
        ),
        way="bulk",
        again="plan",
    ),
    Case(
        "field-hidden",
        Side(
            (fault("change", change="hide_field", field="Lead.HasOptedOutOfEmail", path="/describe"),),
            1,
            "field-level security hides it",
        ),
        Side(
            (fault("change", change="hide_field", field="Lead.HasOptedOutOfEmail", path="/describe"),),
            1,
            "field-level security hides it",
        ),
        writes=0,
    ),
    Case(
        "field-hidden-midway",
        Side((fault("change", change="hide_field", field="Lead.HasOptedOutOfEmail", path=QUERY),), 1, "INVALID_FIELD"),
        Side(
            (fault("change", change="hide_field", field="Lead.HasOptedOutOfEmail", path=LEAD),),
            3,
            "The user can't see the field",
        ),
        writes=1,
        again="plan",
    ),
    Case(
        "field-locked",
        Side((fault("change", change="lock_field", field="Lead.HasOptedOutOfEmail", path="/describe"),)),
        Side(
            (fault("change", change="lock_field", field="Lead.HasOptedOutOfEmail", path="/describe"),),
            2,
            "may not write Lead.HasOptedOutOfEmail",
        ),
        writes=0,
    ),
    Case(
        "field-locked-midway",
        Side((fault("change", change="lock_field", field="Lead.HasOptedOutOfEmail", path=QUERY),)),
        Side(
            (fault("change", change="lock_field", field="Lead.HasOptedOutOfEmail", path=LEAD),),
            3,
            "The user may not write the field",
        ),
        writes=1,
        again="plan",
    ),
    Case(
        "record-deleted",
        Side((fault("change", change="delete", record="<ann_lead>", path=QUERY, after=LEADS_READ),), sees="after"),
        Side(
            (fault("change", change="delete", record="<ann_lead>", path=QUERY),), 3, "The record isn't there any more"
        ),
        writes=0,
        spares=True,
        again="plan",
        ends="less",
    ),
    Case(
        "record-merged",
        Side(
            (fault("change", change="merge", record="<ann_lead>", into="<dan_lead>", path=QUERY, after=LEADS_READ),),
            sees="after",
        ),
        Side(
            (fault("change", change="merge", record="<ann_lead>", into="<dan_lead>", path=QUERY),),
            3,
            "The record was merged into another one",
        ),
        writes=0,
        spares=True,
        again="plan",
        ends="less",
    ),
    Case(
        "lead-converted",
        Side(
            (
                fault(
                    "change", change="convert", record="<ann_lead>", into="<ann_contact>", path=QUERY, after=LEADS_READ
                ),
            ),
        ),
        Side(
            (fault("change", change="convert", record="<ann_lead>", into="<ann_contact>", path=LEAD),),
            3,
            "The Lead was converted",
        ),
        writes=1,
        again="plan",
        ends="less",
    ),
    Case(
        "edited-meanwhile",
        Side((fault("change", change="edit", record="<ann_lead>", path=QUERY, after=LEADS_READ),), sees="before"),
        Side((fault("clock", seconds=90, path=LEAD), fault("change", change="edit", path=LEAD))),
        writes=2,
    ),
    Case(
        "opted-out-in-the-same-second",
        Side(
            (
                fault("change", change="clear", record="<ann_lead>", path=QUERY, after=LEADS_READ),
                fault("change", change="opt_out", record="<ann_lead>", path=QUERY, after=LEADS_READ),
            )
        ),
        Side(
            (
                # Edited just before it is read, then cleared and set by somebody between that and the write: If-Unmodified-Since can't tell.
                fault("change", change="edit", record="<ann_lead>", path=QUERY),
                fault("change", change="clear", path=LEAD),
                fault("change", change="opt_out", path=LEAD),
            ),
            3,
            "The person opted out again while the plan was carried out",
        ),
        writes=2,
        ends="ann_out",
    ),
    Case(
        "history-away",
        Side((fault("status", status=503, query="FROM LeadHistory", times="always"),), 1, BUSY),
        Side(
            (
                # Edited just before it is read, so that the same second may hold more: history is asked once before the write, and once after it.
                fault("change", change="edit", record="<ann_lead>", path=QUERY),
                fault("status", status=503, query="FROM LeadHistory", after=1, times="always"),
            ),
            3,
            "Whether the person opted out just before isn't known",
        ),
        writes=1,
    ),
    Case(
        "page-2",
        Side((fault("status", status=500, path=r"/query/\w+-3"),)),
        Side((fault("status", status=500, path=r"/query/\w+-3"),), met=False),
        writes=1,
    ),
    Case(
        "page-2-stays",
        Side(
            (fault("status", status=400, code="INVALID_QUERY_LOCATOR", path=r"/query/\w+-3", times="always"),),
            1,
            "status 400, INVALID_QUERY_LOCATOR",
        ),
        Side(
            (fault("status", status=400, code="INVALID_QUERY_LOCATOR", path=r"/query/\w+-3", times="always"),),
            met=False,
        ),
        writes=1,
    ),
    Case(
        "page-2-bulk",
        Side((fault("status", status=500, path=PAGE, query="locator="),)),
        Side((fault("status", status=500, path="/failedResults"),)),
        way="bulk",
    ),
    Case(
        "page-2-bulk-stays",
        Side((fault("status", status=500, path=PAGE, query="locator=", times="always"),), 1, "page 2 of Bulk query"),
        Side((fault("status", status=500, path="/failedResults", times="always"),), 3, "the failedResults of Bulk job"),
        way="bulk",
    ),
    Case("clock-ahead", Side((fault("clock", seconds=900),)), Side((fault("clock", seconds=900),)), writes=1),
    Case("clock-behind", Side((fault("clock", seconds=-900),)), Side((fault("clock", seconds=-900),)), writes=1),
    # --- the gateway of Sales Connect
    Case(
        "gateway-401",
        Side((pages("status", status=401, times="always"),), 1, "Check the token in RECON_GATEWAY_TOKEN"),
        Side((removes("status", status=401, times="always"),), 3, "Check the gateway's token"),
        writes=1,
        stops=True,
    ),
    Case(
        "gateway-403",
        Side((pages("status", status=403, times="always"),), 1, "Check the token in RECON_GATEWAY_TOKEN"),
        Side((removes("status", status=403, times="always"),), 3, "Check the gateway's token"),
        writes=1,
        stops=True,
    ),
    gateway("gateway-429", 2, "status", status=429, headers={"Retry-After": "7"}),
    gateway("gateway-429-done", 1, "status", status=429, headers={"Retry-After": "7"}, carried_out=True),
    gateway("gateway-500", 2, "status", status=500),
    gateway("gateway-500-done", 1, "status", status=500, carried_out=True),
    gateway("gateway-502", 2, "status", status=502),
    gateway("gateway-503", 2, "status", status=503),
    Case(
        "gateway-503-stays",
        Side((pages("status", status=503, times="always"),), 1, "the gateway refused the people: status 503"),
        Side(
            (removes("status", status=503, times="always"),),
            3,
            "Apply the same plan again: it reads the record first",
        ),
        writes=3,
    ),
    Case("gateway-time-out", Side((pages("late"),)), Side((removes("late"),)), writes=2, hasty=True),
    Case(
        "gateway-time-out-done",
        Side((pages("late", carried_out=True),)),
        Side((removes("late", carried_out=True),)),
        writes=1,
        hasty=True,
    ),
    gateway("gateway-dropped", 2, "drop"),
    gateway("gateway-dropped-done", 1, "drop", carried_out=True),
    gateway("gateway-cut-length", 1, "cut"),
    gateway("gateway-cut-no-length", 1, "cut", framing="none"),
    gateway("gateway-login-page", 2, "status", status=502, content="<html>Sign in</html>"),
    Case(
        "gateway-login-page-at-a-change",
        Side((pages("status", status=200, content="<html>Sign in</html>"),), 1, "something that is not JSON"),
        Side((removes("status", status=200, content="<html>Sign in</html>"),)),
        writes=2,
    ),
    Case(
        "gateway-login-page-stays",
        Side(
            (pages("status", status=200, content="<html>Sign in</html>", times="always"),),
            1,
            "something that is not JSON",
        ),
        Side(
            (
                fault(
                    "status", system="gateway", method="GET", status=200, content="<html>Sign in</html>", times="always"
                ),
            ),
            1,
            "something that is not JSON",
        ),
        writes=0,
    ),
    gateway("gateway-other-order", 1, "order"),
    gateway("gateway-no-charset", 1, "headers", headers={"Content-Type": "application/json"}),
    Case(
        "gateway-person-removed",
        Side((fault("change", change="remove", record="<gus>", path=PEOPLE, after=1),), 1, "the gateway counted"),
        Side((fault("change", change="remove", path="/people/<ann>$", after=1),), 3, "The record isn't there any more"),
        writes=0,
        spares=True,
        again="plan",
        ends="less",
    ),
    Case(
        "gateway-unsubscribes-meanwhile",
        Side((fault("change", change="unsubscribe", record="<ann>", path=PEOPLE, after=1),), sees="before"),
        Side(
            (fault("clock", seconds=60, path=LEAD), fault("change", change="unsubscribe", record="<ann>", path=LEAD)),
            3,
            "The person opted out again",
        ),
        writes=0,
        ends="ann_out",
    ),
    Case(
        "gateway-404-for-all",
        Side(
            (fault("status", system="gateway", status=404, times="always"),),
            1,
            "Check sales_connect.gateway.url and list_path",
        ),
        Side(
            (fault("status", system="gateway", status=404, path="/people/.", times="always"),),
            1,
            "nobody is taken for deleted",
        ),
        writes=0,
    ),
    Case(
        "gateway-404-for-changes",
        Side((removes("status", status=404, times="always"),), met=False),
        Side((removes("status", status=404, times="always"),), 3, "The address of the change leads nowhere"),
        writes=3,
    ),
    Case(
        "gateway-404-of-a-proxy",
        Side(
            (fault("status", system="gateway", status=404, content="<html>Not here</html>", times="always"),),
            1,
            "a web page came instead",
        ),
        Side(
            (
                fault(
                    "status",
                    system="gateway",
                    status=404,
                    content="<html>Not here</html>",
                    path="/people/<ann>$",
                    after=1,
                    times="always",
                ),
            ),
            3,
            "a web page came instead",
        ),
        writes=0,
    ),
]
