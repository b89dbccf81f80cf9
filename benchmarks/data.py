"""People, Leads and Contacts in any number, from a seed: the files that the benchmarks read.

Written by DuckDB from nothing but row numbers and a hash, so that a hundred million rows take minutes and the same seed gives the same
rows. What is in them is what large organisations have: most people linked by id, some by their address only, duplicates, shared mailboxes,
converted Leads with stale links, ids that lead nowhere, addresses in capitals, with blanks, with umlauts, and texts that are no address.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from pathlib import Path

#: Of a hundred Salesforce records so many are Leads.
LEADS_PERCENT = 60
#: One person for so many records.
RECORDS_A_PERSON = 2

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def generate(folder: Path, records: int, *, seed: int = 1) -> dict[str, int]:
    """Write people.csv, leads.csv and contacts.csv into a folder, unless they are there.

    Parameters
    ----------
    folder
        Made where it is missing.
    records
        Leads and Contacts together; half as many people are made.
    seed
        Another seed, other rows.

    Returns
    -------
    dict
        Rows by file.
    """
    done = folder / "generated.json"
    leads = records * LEADS_PERCENT // 100
    told = {"people": records // RECORDS_A_PERSON, "leads": leads, "contacts": records - leads, "seed": seed}
    if done.exists() and json.loads(done.read_text("utf-8")) == told:
        return told
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"SET VARIABLE seed = {int(seed)}")
        connection.execute(_MACROS)
        connection.execute(_LEADS.format(rows=leads, contacts=records - leads, people=told["people"]))
        connection.execute(_CONTACTS.format(rows=records - leads, leads=leads, people=told["people"]))
        connection.execute(_PEOPLE.format(rows=told["people"], leads=leads, contacts=records - leads))
        for name in ("people", "leads", "contacts"):
            connection.execute(f"COPY {name} TO '{folder / name}.csv' (FORMAT csv, HEADER)")
    done.write_text(json.dumps(told), "utf-8")
    return told


# A draw of 0..9999 for a row, one a topic; the id of row n of an object; somebody's address.
_MACROS = f"""
CREATE MACRO draw(n, topic) AS (hash(n, topic, getvariable('seed')) % 10000)::INTEGER;
CREATE MACRO digit(n, place) AS substr('{_DIGITS}', ((n // (62 ** place)::BIGINT) % 62)::INTEGER + 1, 1);
CREATE MACRO body(prefix, n) AS prefix || '5e00000' || digit(n, 4) || digit(n, 3) || digit(n, 2) || digit(n, 1) || digit(n, 0);
CREATE MACRO high(text, place) AS CASE WHEN substr(text, place, 1) BETWEEN 'A' AND 'Z' THEN 1 ELSE 0 END;
CREATE MACRO checked(text, start) AS substr('{_CHECKS}', 1 + high(text, start) + 2 * high(text, start + 1)
  + 4 * high(text, start + 2) + 8 * high(text, start + 3) + 16 * high(text, start + 4), 1);
CREATE MACRO whole(text) AS text || checked(text, 1) || checked(text, 6) || checked(text, 11);
CREATE MACRO mixed(n, rows) AS (n * 7919 + 12345) % rows;
CREATE MACRO address(who) AS 'user' || who || '@company' || (hash(who) % 20000) || '.example';
CREATE MACRO written(who, n, topic) AS CASE
  WHEN draw(n, topic) < 300 THEN NULL
  WHEN draw(n, topic) < 320 THEN 'n/a'
  WHEN draw(n, topic) < 330 THEN 'user' || who || '@m' || chr(252) || 'ller.example'
  WHEN draw(n, topic) < 400 THEN 'office' || (who % 997) || '@shared.example'
  WHEN draw(n, topic) < 900 THEN upper(address(who))
  WHEN draw(n, topic) < 950 THEN address(who) || ' '
  ELSE address(who) END;
CREATE MACRO moment(n, topic) AS strftime(TIMESTAMP '2022-01-01' + to_seconds((hash(n, topic, getvariable('seed')) % 130000000)::BIGINT),
  '%Y-%m-%dT%H:%M:%SZ');
CREATE MACRO named(n, topic) AS list_value('Ada', 'Grace', 'Edsger', 'Barbara', 'Alan', 'Donald', 'Frances', 'Jean', 'Zo' || chr(235),
  'Niklaus', 'O''Neil', 'Anne, dite "Nan"')[CASE WHEN draw(n, topic) < 20 THEN 12 ELSE 1 + draw(n, topic) % 11 END];
"""

# Row n of an object is about somebody: Leads are the persons 0.., Contacts begin in their midst, so that some persons have both.
_LEADS = """
CREATE VIEW leads AS SELECT
  whole(body('00Q', mixed(n, {rows}))) AS "Id", written(who, n, 'lead mail') AS "Email",
  CASE WHEN draw(n, 'lead out') < 800 THEN 'true' ELSE 'false' END AS "HasOptedOutOfEmail",
  CASE WHEN converted THEN 'true' ELSE 'false' END AS "IsConverted",
  CASE WHEN converted THEN whole(body('003', n % {contacts})) END AS "ConvertedContactId",
  CASE WHEN draw(n, 'lead gone') < 50 THEN 'true' ELSE 'false' END AS "IsDeleted",
  named(n, 'lead first') AS "FirstName", named(n, 'lead last') || n AS "LastName", moment(n, 'lead at') AS "LastModifiedDate",
  CASE WHEN draw(n, 'lead out') < 600 THEN moment(n, 'lead out at') END AS "OptedOutAt"
FROM (SELECT n, CASE WHEN draw(n, 'lead twice') < 400 THEN n // 2 ELSE n END AS who,
  n < {contacts} AND draw(n, 'lead converted') < 500 AS converted FROM range({rows}) AS r(n))
"""
_CONTACTS = """
CREATE VIEW contacts AS SELECT
  whole(body('003', n)) AS "Id", written(who, n, 'contact mail') AS "Email",
  CASE WHEN draw(n, 'contact out') < 800 THEN 'true' ELSE 'false' END AS "HasOptedOutOfEmail",
  CASE WHEN draw(n, 'contact gone') < 50 THEN 'true' ELSE 'false' END AS "IsDeleted",
  named(n, 'contact first') AS "FirstName", named(n, 'contact last') || n AS "LastName", moment(n, 'contact at') AS "LastModifiedDate",
  CASE WHEN draw(n, 'contact out') < 600 THEN moment(n, 'contact out at') END AS "OptedOutAt"
FROM (SELECT n, CASE WHEN draw(n, 'contact twice') < 300 THEN n // 2 WHEN draw(n, 'contact twice') < 1300 THEN n
  ELSE {leads} + n END AS who FROM range({rows}) AS r(n))
"""
_PEOPLE = """
CREATE VIEW people AS SELECT
  n + 1 AS person_id, written(who, n, 'person mail') AS email,
  CASE WHEN draw(n, 'link') < 100 THEN '0035e00000zzzzzAAA' WHEN draw(n, 'link') < 7500 THEN record
       WHEN draw(n, 'link') < 7700 THEN substr(record, 1, 15) END AS salesforce_id,
  CASE WHEN gone THEN 'true' ELSE 'false' END AS unsubscribed,
  CASE WHEN gone THEN CASE WHEN draw(n, 'level') < 700 THEN 'user' ELSE 'account' END END AS unsubscribe_level,
  CASE WHEN gone AND draw(n, 'level') < 9000 THEN moment(n, 'person out at') END AS unsubscribed_at,
  CASE WHEN gone THEN list_value('manual', 'clicked_link', 'salesforce_sync', 'bounce')[1 + draw(n, 'source') % 4] END
    AS unsubscribe_source,
  CASE WHEN draw(n, 'back') < 60 THEN moment(n, 'person back at') END AS resubscribed_at,
  named(n, 'person first') AS first_name, named(n, 'person last') || n AS last_name, moment(n, 'person at') AS updated_at
FROM (SELECT n, draw(n, 'person out') < 1000 AS gone,
  CASE WHEN n % 2 = 0 THEN (n // 2) % {leads} ELSE {leads} + (n // 2) % {contacts} END AS who,
  CASE WHEN n % 2 = 0 THEN whole(body('00Q', mixed((n // 2) % {leads}, {leads}))) ELSE whole(body('003', (n // 2) % {contacts})) END
    AS record
  FROM range({rows}) AS r(n))
"""
