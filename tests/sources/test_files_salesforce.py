from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recon.errors import InputRefused
from recon.sources.files import read_contacts, read_leads
from recon.tables import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from recon.sources.base import Extract

    Read = Callable[..., Extract]

LEAD = ["00Q000000000001EAA", "00Q000000000002EAA", "00Q000000000003EAA"]
CONTACT = ["003000000000001AAA", "003000000000002AAA", "003000000000003AAA"]


def write(folder: Path, content: str | bytes, name: str = "records.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(extract: Extract) -> list[dict[str, Any]]:
    assert extract.table.schema == RECORDS.schema
    return extract.table.to_pylist()  # type: ignore[no-any-return]


def refused(read: Read, path: Path, **options: Any) -> list[tuple[int | None, str | None, str]]:
    return [(problem.line, problem.column, problem.message) for problem in problems(read, path, **options)]


def problems(read: Read, path: Path, **options: Any) -> Any:
    with pytest.raises(InputRefused) as caught:
        read(path, **options)
    assert all(problem.file == str(path) and problem.remedy for problem in caught.value.problems)
    return caught.value.problems


FULL = (
    '"Id","Email","HasOptedOutOfEmail","IsConverted","ConvertedContactId","IsDeleted","FirstName","LastName",'
    '"LastModifiedDate","Marketo_Sales_Opt_Out__c","OptedOutAt"\n'
    '"00Q000000000001EAA","ann@example.com","true","false","","false","Ann","Lee","2026-11-01T00:00:00.000Z","false",""\n'
    '"00Q000000000002","","false","true","003000000000001","true","","Bo","2026-11-01T00:00:00.000+0000","true",'
    '"2026-10-01T00:00:00Z"\n'
)


def test_leads_as_data_loader_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    extract = read_leads(path)
    first, second = rows(extract)
    assert first == {
        "record_id": LEAD[0],
        "object": "Lead",
        "email": "ann@example.com",
        "opted_out": True,
        "has_opted_out_of_email": True,
        "sales_opt_out": False,
        "opted_out_at": None,
        "resubscribed_at": None,
        "is_converted": False,
        "converted_contact_id": None,
        "is_deleted": False,
        "first_name": "Ann",
        "last_name": "Lee",
        "modified_at": datetime(2026, 11, 1, tzinfo=UTC),
        "account_id": None,
    }
    assert (second["record_id"], second["converted_contact_id"]) == (LEAD[1], CONTACT[0])
    assert (second["is_converted"], second["is_deleted"]) == (True, True)
    assert second["opted_out_at"] == datetime(2026, 10, 1, tzinfo=UTC)
    (source,) = extract.inputs
    assert (source.name, source.kind, source.rows) == ("leads", "csv", 2)
    assert source.details["report_export"] is False
    assert source.details["vocabulary"] == [
        "has_opted_out_of_email: true/false",
        "sales_opt_out: true/false",
        "is_converted: true/false",
        "is_deleted: true/false",
    ]
    assert [row["opted_out"] for row in rows(read_leads(path, opt_out_field="custom"))] == [False, True]
    assert [row["opted_out"] for row in rows(read_leads(path, opt_out_field="both"))] == [True, True]


def test_contacts_with_the_least_that_is_needed(tmp_path: Path) -> None:
    extract = read_contacts(write(tmp_path, "ID,HASOPTEDOUTOFEMAIL,ISCONVERTED\n003000000000001,0,1\n"))
    (row,) = rows(extract)
    assert (row["record_id"], row["object"], row["opted_out"]) == (CONTACT[0], "Contact", False)
    assert (row["is_converted"], row["is_deleted"], row["email"], row["sales_opt_out"]) == (False, False, None, None)
    assert extract.inputs[0].name == "contacts"


@pytest.mark.parametrize(
    ("header", "custom_field"),
    [
        ("MSE_Opt_Out__c", None),
        ("msc_opt_out__C", None),
        ("toutapp__Marketo_Sales_Opt_Out__c", None),
        ("Quiet__c", "Quiet__c"),
        ("quiet__c", "Quiet__c"),
    ],
)
def test_the_custom_field(tmp_path: Path, header: str, custom_field: str | None) -> None:
    path = write(tmp_path, f"Id,{header}\n{LEAD[0]},TRUE\n{LEAD[1]},FALSE\n")
    extract = read_leads(path, opt_out_field="custom", custom_field=custom_field)
    assert [row["opted_out"] for row in rows(extract)] == [True, False]
    assert [row["has_opted_out_of_email"] for row in rows(extract)] == [None, None]


def test_the_custom_field_is_missing_or_ambiguous(tmp_path: Path) -> None:
    none = write(tmp_path, f"Id,HasOptedOutOfEmail,Quite__c\n{LEAD[0]},1,0\n")
    assert refused(read_leads, none, opt_out_field="custom")[0][2].startswith(
        "there is no column that is known as the custom opt-out field"
    )
    (problem,) = problems(read_leads, none, opt_out_field="both", custom_field="Quiet__c")
    assert problem.message == "there is no column 'Quiet__c' (the custom opt-out field). Did you mean 'Quite__c'?"
    two = write(tmp_path, f"Id,HasOptedOutOfEmail,MSE_Opt_Out__c,MSC_Opt_Out__c\n{LEAD[0]},1,0,0\n")
    (problem,) = problems(read_leads, two, opt_out_field="both")
    assert (
        problem.message
        == "more than one column may be the custom opt-out field: 'MSE_Opt_Out__c' and 'MSC_Opt_Out__c'."
    )
    assert "custom_field" in problem.remedy
    # Where it isn't needed, it isn't asked for.
    assert rows(read_leads(two))[0]["sales_opt_out"] is None
    assert rows(read_leads(two, opt_out_field="both", custom_field="MSC_Opt_Out__c"))[0]["opted_out"] is True


def test_missing_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "Ident,HasOptedOutOfMail\n1,1\n")
    assert refused(read_leads, path) == [
        (None, None, "there is no column 'Id' (in a report: 'Lead ID')."),
        (
            None,
            None,
            "there is no column 'HasOptedOutOfEmail' (the standard opt-out field). Did you mean 'HasOptedOutOfMail'?",
        ),
    ]


def test_a_column_under_two_names(tmp_path: Path) -> None:
    path = write(tmp_path, f"Id,HasOptedOutOfEmail,Email Opt Out\n{LEAD[0]},1,1\n")
    assert refused(read_leads, path) == [
        (
            None,
            "HasOptedOutOfEmail",
            "the column is there more than once: 'HasOptedOutOfEmail' (column 2) and 'Email Opt Out' (column 3).",
        )
    ]


def test_ids_that_are_none(tmp_path: Path) -> None:
    text = (
        "Id,HasOptedOutOfEmail,ConvertedContactId\n"
        f"{LEAD[0]},1,000000000000000\n,1,\n00Q00000000000!,1,\n00Q0000000001,1,\n{LEAD[1][:-1]}B,1,\n{CONTACT[0]},1,\n"
        f"00Q000000000001,1,\n{LEAD[2]},1,{LEAD[0]}\n00Q000000000004,1,x\n"
    )
    assert refused(read_leads, write(tmp_path, text)) == [
        (3, "Id", "the id is blank."),
        (4, "Id", "this is no Salesforce id."),
        (5, "Id", "this is no Salesforce id."),
        (6, "Id", "this is no Salesforce id."),
        (7, "Id", "this is no id of a Lead: those begin with 00Q."),
        (8, "Id", "the id is the same as in line 2."),
        (9, "ConvertedContactId", "this is no id of a Contact."),
        (10, "ConvertedContactId", "this is no id of a Contact."),
    ]


def test_a_contact_file_given_as_leads(tmp_path: Path) -> None:
    path = write(tmp_path, f"Id,HasOptedOutOfEmail\n{CONTACT[0]},1\n{CONTACT[1]},0\n")
    (problem,) = problems(read_leads, path)
    assert problem.message == "these are Contact ids (003...), but the file was given as the Leads."
    assert problem.remedy == "Give it with --contacts."
    report = write(tmp_path, f"Lead ID,Email Opt Out\n{LEAD[0]},1\n")
    (problem,) = problems(read_contacts, report)
    assert problem.message == (
        "this is a report of Leads (it has the column 'Lead ID'), but the file was given as the Contacts."
    )
    assert problem.remedy == "Give it with --leads."


def test_a_blank_flag_in_any_flag_column(tmp_path: Path) -> None:
    text = f"Id,HasOptedOutOfEmail,MSE_Opt_Out__c,IsDeleted,IsConverted\n{LEAD[0]},,1,0,1\n{LEAD[1]},1,,,\n"
    assert refused(read_leads, write(tmp_path, text)) == [
        (2, "HasOptedOutOfEmail", "the flag is blank."),
        (3, "MSE_Opt_Out__c", "the flag is blank."),
        (3, "IsConverted", "the flag is blank."),
        (3, "IsDeleted", "the flag is blank."),
    ]


def test_status_words_are_no_flags_in_salesforce(tmp_path: Path) -> None:
    path = write(tmp_path, f"Id,HasOptedOutOfEmail\n{LEAD[0]},Unsubscribed\n")
    assert refused(read_leads, path) == [(2, "HasOptedOutOfEmail", "a text of 12 characters is no flag.")]


# --- report exports --------------------------------------------------------------------------------------------------

REPORT = (
    '"Lead ID","First Name","Last Name","Email","Email Opt Out","MSE - Opt Out","Converted","Last Modified Date"\n'
    '"00Q000000000001","Zo\u00eb","Lee","zoe@example.com","1","0","0","2026-11-01"\n'
    '"00Q000000000002","Bo","Lee","bo@example.com","0","0","1","2026-11-02"\n'
)
FOOTER = (
    '\n\n"Opted-out Leads"\n"Copyright (c) 2000-2026 salesforce.com, inc. All rights reserved."\n'
    '"Confidential Information - Do Not Distribute"\n"Generated By:  Ann Admin  11/24/2026, 8:00 AM"\n"Acme, Inc."\n'
)


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1"])
@pytest.mark.parametrize(("footer", "counted"), [("", 0), (FOOTER, 5), (FOOTER.replace("\n", "\r\n").rstrip(), 5)])
def test_report_exports(tmp_path: Path, encoding: str, footer: str, counted: int) -> None:
    extract = read_leads(write(tmp_path, (REPORT + footer).encode(encoding)))
    first, second = rows(extract)
    assert (first["record_id"], first["first_name"], first["opted_out"]) == (LEAD[0], "Zo\u00eb", True)
    assert (second["record_id"], second["is_converted"], second["sales_opt_out"]) == (LEAD[1], True, False)
    details = extract.inputs[0].details
    assert details["report_export"] is True
    assert details["encoding"] == ("utf-8" if encoding == "utf-8" else "iso8859-1")
    assert details["footer_rows"] == counted
    assert extract.inputs[0].rows == 2


def test_a_report_of_contacts_with_the_custom_field_by_its_label(tmp_path: Path) -> None:
    path = write(tmp_path, "Contact ID,Marketo Sales Opt Out\n003000000000001,TRUE\n")
    for custom_field in (None, "Marketo_Sales_Opt_Out__c"):
        assert rows(read_contacts(path, opt_out_field="custom", custom_field=custom_field))[0]["opted_out"] is True


def test_a_footer_that_a_spreadsheet_filled_up(tmp_path: Path) -> None:
    padded = "".join(f"{line},,,,,,,\n" for line in FOOTER.replace('"Acme, Inc."', "Acme").splitlines() if line)
    extract = read_leads(write(tmp_path, REPORT + ",,,,,,,\n" + padded))
    assert extract.table.num_rows == 2
    assert extract.inputs[0].details["footer_rows"] == 6


def test_a_truncated_report_has_no_footer(tmp_path: Path) -> None:
    path = write(tmp_path, REPORT + '"00Q000000000003"')
    assert refused(read_leads, path) == [
        (4, None, "the row has 1 cell, the header has 8. It is the last line: the file may be cut short.")
    ]


def test_a_footer_only_counts_at_the_end(tmp_path: Path) -> None:
    more = '"00Q000000000003","","","","0","0","0",""\n'
    path = write(tmp_path, REPORT + FOOTER + more)
    assert [line for line, _, _ in refused(read_leads, path)] == [6, 7, 8, 9, 10]


def test_a_footer_is_no_part_of_other_files(tmp_path: Path) -> None:
    path = write(tmp_path, f"Id,HasOptedOutOfEmail\n{LEAD[0]},1\n{FOOTER}")
    assert refused(read_leads, path)[0][:2] == (5, None)


def test_a_report_without_rows(tmp_path: Path) -> None:
    path = write(tmp_path, REPORT.splitlines()[0] + "\n" + FOOTER)
    assert refused(read_leads, path) == [(None, None, "the file has a header but no rows.")]


def test_only_reports_may_be_latin(tmp_path: Path) -> None:
    path = write(tmp_path, f"Id,LastName,HasOptedOutOfEmail\n{LEAD[0]},Zo\u00eb,1\n".encode("iso-8859-1"))
    assert refused(read_leads, path)[0][0] == 2
    # An encoding that was stated is taken at its word, for reports too.
    report = write(tmp_path, REPORT.encode("iso-8859-1"))
    assert refused(read_leads, report, encoding="ascii")[0][0] == 2


def test_local_times_of_a_report_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, REPORT.replace("2026-11-02", "11/2/2026, 8:00 AM"))
    assert refused(read_leads, path) == [(3, "Last Modified Date", "this is no time that can be read in one way only.")]
