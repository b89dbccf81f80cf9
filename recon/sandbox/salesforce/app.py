"""The sandbox's Salesforce as an ASGI app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from recon.sandbox.salesforce import composite, rest
from recon.sandbox.salesforce.auth import Login, Org
from recon.sandbox.salesforce.bulk_ingest import IngestJobs
from recon.sandbox.salesforce.bulk_query import QueryJobs
from recon.sandbox.salesforce.wire import METHODS, Api, TrailingSlash, nothing_here

if TYPE_CHECKING:
    from recon.sandbox.store import Store


def create_app(store: Store, org: Org | None = None) -> Starlette:
    """A Salesforce over a store.

    Parameters
    ----------
    store
        Leads, contacts and their history; shared with the other side of the sandbox.
    org
        Users, connected app and sizes.

    Returns
    -------
    Starlette
        The app. `app.state.login` can end its sessions.
    """
    org = org or Org()
    login = Login(org, store.clock)
    api = Api(store, org, login)
    queries = rest.Queries()
    query_jobs = QueryJobs()
    ingest_jobs = IngestJobs()
    routes = [
        Route("/services/oauth2/token", login.token, methods=["POST"]),
        Route("/services/Soap/u/{version}", login.soap, methods=["POST"]),
        Route("/services/data", rest.versions),
        api.route("", get=rest.resources),
        api.route("/limits", get=rest.limits),
        api.route("/sobjects", get=rest.sobjects),
        api.route("/sobjects/{sobject}", get=rest.sobject_info, post=rest.row_post),
        api.route("/sobjects/{sobject}/describe", get=rest.describe),
        api.route("/sobjects/{sobject}/{record_id}", get=rest.row_get, patch=rest.row_patch, delete=rest.row_delete),
        api.route("/query", get=queries.query),
        api.route("/queryAll", get=queries.query_all),
        api.route("/query/{locator}", get=queries.more),
        api.route("/queryAll/{locator}", get=queries.more),
        api.route("/jobs/query", get=query_jobs.listing, post=query_jobs.create),
        api.route("/jobs/query/{job_id}", get=query_jobs.look, patch=query_jobs.change, delete=query_jobs.delete),
        api.route("/jobs/query/{job_id}/results", get=query_jobs.results),
        api.route("/jobs/ingest", get=ingest_jobs.listing, post=ingest_jobs.create),
        api.route("/jobs/ingest/{job_id}", get=ingest_jobs.look, patch=ingest_jobs.change, delete=ingest_jobs.delete),
        api.route("/jobs/ingest/{job_id}/batches", max_body=org.max_upload, put=ingest_jobs.upload),
        api.route("/jobs/ingest/{job_id}/{kind}", get=ingest_jobs.results),
        api.route("/composite/sobjects", patch=composite.update),
        Route("/{path:path}", nothing_here(login.user_of), methods=METHODS),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(TrailingSlash)])
    app.state.login = login
    return app
