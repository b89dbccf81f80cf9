"""Settings: what recon.toml may hold, and what is said about what it may not."""

from __future__ import annotations

import re
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from recon import settings
from recon.errors import SettingsError
from recon.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "recon.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def refused(folder: Path, text: str | bytes) -> str:
    write(folder, text)
    with pytest.raises(SettingsError) as caught:
        settings.load(folder)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return str(caught.value)


def fields(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{path}{name}.")
            continue
        yield f"{path}{name}", field
        entry = get_args(kind)[1] if get_origin(kind) is dict else None
        if isinstance(entry, type) and issubclass(entry, BaseModel):
            yield from fields(entry, f"{path}{name}.*.")


EVERY = tuple(fields(Settings))


class TestDefinitions:
    @pytest.mark.parametrize(("path", "field"), EVERY, ids=[path for path, _ in EVERY])
    def test_every_setting_says_what_it_means_and_has_a_default(self, path: str, field: Any) -> None:
        assert len(field.description or "") > 10
        assert field.description.endswith((".", "?", ")"))
        assert not field.is_required()

    def test_the_defaults_that_others_rely_on(self) -> None:
        plain = Settings()
        assert (plain.sync.enabled, plain.salesforce.opt_out_field) == (True, "standard")
        assert (plain.sync.time_zone, plain.sync.run_at) == ("America/Los_Angeles", time(20))
        assert (plain.sync.guard_start, plain.sync.guard_end) == (time(19), time(22))
        assert (plain.actions.limit_business_days, plain.clusters.report_above) == (10, 50)
        assert plain.report.mask is True

    def test_no_setting_holds_a_secret(self) -> None:
        for path, _ in EVERY:
            name = path.rpartition(".")[2]
            if re.search("secret|password|token|key_file", name):
                assert name.endswith("_env"), path

    def test_they_cant_be_changed_in_place(self) -> None:
        with pytest.raises(ValidationError):
            Settings().sync.enabled = False  # type: ignore[misc]


class TestLoad:
    def test_without_a_file_the_defaults(self, tmp_path: Path) -> None:
        loaded = settings.load(tmp_path)
        assert loaded.model_copy(update={"run": Settings().run}) == Settings()

    def test_an_empty_file_is_as_good_as_none(self, tmp_path: Path) -> None:
        assert settings.load(write(tmp_path, "")) == settings.load(tmp_path / "none").model_copy(
            update={"run": settings.load(tmp_path).run}
        )

    def test_every_kind_of_value(self, tmp_path: Path) -> None:
        loaded = settings.load(
            write(
                tmp_path,
                "[sync]\nenabled = false\nrun_at = 20:30:00\n"
                '[sales_connect.columns]\nunsubscribed = "Opted out?"\n'
                "[sales_connect.gateway]\npage_size = 7\n"
                '[actions]\nholidays = [2026-12-25, "2027-01-01"]\n'
                '[clusters]\nnever_join = ["info@example.com"]\n',
            )
        )
        assert (loaded.sync.enabled, loaded.sync.run_at) == (False, time(20, 30))
        assert loaded.sales_connect.columns == {"unsubscribed": "Opted out?"}
        assert loaded.sales_connect.gateway.page_size == 7
        assert loaded.sales_connect.gateway.list_path == "/people"
        assert loaded.actions.holidays == [date(2026, 12, 25), date(2027, 1, 1)]
        assert loaded.clusters.never_join == ["info@example.com"]

    def test_relative_paths_start_at_the_file_absolute_ones_stay(self, tmp_path: Path) -> None:
        loaded = settings.load(write(tmp_path, '[run]\npeople = "in/people.csv"\nleads = "/data/leads.csv"\n'))
        assert loaded.run.people == tmp_path / "in" / "people.csv"
        assert loaded.run.leads == Path("/data/leads.csv")
        assert loaded.run.contacts is None
        assert loaded.run.snapshots == tmp_path / "snapshots"
        assert loaded.run.reports == tmp_path / "reports"

    def test_a_byte_order_mark_is_no_part_of_the_text(self, tmp_path: Path) -> None:
        text = b"\xef\xbb\xbf[sync]\r\nenabled = false\r\n"
        assert settings.load(write(tmp_path, text)).sync.enabled is False

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("[sync\n", "line 1"),
            ("[sync]\nenabled = no\n", "line 2"),
            ("[sync]\nenabled = true\nenabled = true\n", "line 3"),
            ("[sync]\n[sync]\n", "line 2"),
            (b"[report]\ntitle = '\xfc'\n", "not valid TOML"),
            ("x = " + "[" * 100_000, "not valid TOML"),
        ],
    )
    def test_what_is_no_toml_is_told_with_its_line(self, tmp_path: Path, text: str | bytes, told: str) -> None:
        message = refused(tmp_path, text)
        assert str(tmp_path / "recon.toml") in message
        assert told in message
        assert "recon init" in message

    @pytest.mark.parametrize(
        ("text", "path", "told"),
        [
            ("[sink]\n", "sink", "there is no such setting"),
            ("[sync]\nenable = true\n", "sync.enable", "there is no such setting"),
            ("[sales_connect.gateway]\nurll = 'x'\n", "sales_connect.gateway.urll", "there is no such setting"),
            ("[sync]\nenabled = 'perhaps'\n", "sync.enabled", "boolean"),
            ("[sync]\ntime_zone = 'Pacific'\n", "sync.time_zone", "'Pacific' is no time zone"),
            ("[sync]\ntime_zone = ''\n", "sync.time_zone", "is no time zone"),
            ("[sync]\ntime_zone = '../../etc/passwd'\n", "sync.time_zone", "is no time zone"),
            ("[sync]\ntime_zone = 'America'\n", "sync.time_zone", "is no time zone"),
            ("[sync]\nrun_at = 18:00:00\n", "sync", "run_at must lie between guard_start and guard_end"),
            ("[sync]\nguard_end = 01:00:00\n", "sync", "all on one day"),
            ("[sync]\nrun_at = '20:00Z'\n", "sync.run_at", "the time alone, like 20:00:00"),
            ("[sync]\nguard_end = '22:00+01:00'\n", "sync.guard_end", "the time alone"),
            ("[sync]\nrun_at = 72000\n", "sync.run_at", "the time alone"),
            ("[salesforce]\nopt_out_field = 'all'\n", "salesforce.opt_out_field", "'standard', 'custom' or 'both'"),
            ("[salesforce]\napi_version = '62'\n", "salesforce.api_version", "match pattern"),
            ("[salesforce]\nretries = 11\n", "salesforce.retries", "less than or equal to 10"),
            ("[salesforce]\nread_timeout = 0\n", "salesforce.read_timeout", "greater than 0"),
            ("[salesforce]\nread_timeout = nan\n", "salesforce.read_timeout", "finite number"),
            ("[salesforce]\nread_timeout = inf\n", "salesforce.read_timeout", "finite number"),
            ("[actions]\nlimit_business_days = -1\n", "actions.limit_business_days", "greater than or equal to 0"),
            ("[actions]\nholidays = ['Christmas']\n", "actions.holidays.0", "valid date"),
            ("[clusters]\nnever_join = 'info@example.com'\n", "clusters.never_join", "valid list"),
            ("[run]\npeople = ''\n", "run.people", "the path is empty"),
            ("[run]\nreports = ' '\n", "run.reports", "the path is empty"),
            ("[run]\npeople = 5\n", "run.people", "path"),
            ("sync = 5\n", "sync", "valid dictionary"),
        ],
    )
    def test_what_cant_be_used_is_told_with_its_name(self, tmp_path: Path, text: str, path: str, told: str) -> None:
        message = refused(tmp_path, text)
        assert f"{tmp_path / 'recon.toml'}: {path}: " in message
        assert told in message

    def test_every_fault_is_told_at_once(self, tmp_path: Path) -> None:
        message = refused(tmp_path, "[sync]\nenabled = 3\nzone = 1\n[report]\nrows = 0\n[extra]\n")
        for path in ("sync.enabled", "sync.zone", "report.rows", "extra"):
            assert f"recon.toml: {path}: " in message

    def test_a_secret_that_stands_in_the_file_by_mistake_is_not_repeated(self, tmp_path: Path) -> None:
        message = refused(tmp_path, "[salesforce]\nconsumer_secret = 'do-not-show'\npassword = ['do-not-show']\n")
        assert "salesforce.consumer_secret: there is no such setting" in message
        assert "do-not-show" not in message

    def test_what_is_no_file_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "recon.toml").mkdir()
        with pytest.raises(SettingsError, match=r"recon\.toml: can't be read"):
            settings.load(tmp_path)

    def test_a_file_in_place_of_the_folder_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SettingsError, match="can't be read"):
            settings.load(tmp_path / "file")


class TestWithValues:
    def test_single_values_are_replaced_in_a_copy(self) -> None:
        before = Settings()
        after = before.with_values(sync={"enabled": False}, report={"title": "Ours"})
        assert (before.sync.enabled, after.sync.enabled, after.report.title) == (True, False, "Ours")
        assert after.sync.run_at == before.sync.run_at
        assert after.salesforce == before.salesforce

    def test_a_section_within_a_section_keeps_what_is_not_named(self) -> None:
        first = Settings().with_values(sales_connect={"gateway": {"page_size": 5}, "encoding": "cp1252"})
        second = first.with_values(sales_connect={"gateway": {"url": "http://127.0.0.1:1"}})
        assert second.sales_connect.gateway.page_size == 5
        assert second.sales_connect.gateway.url == "http://127.0.0.1:1"
        assert second.sales_connect.encoding == "cp1252"

    def test_a_map_and_a_list_are_replaced_whole(self) -> None:
        first = Settings().with_values(
            sales_connect={"columns": {"email": "E mail", "person_id": "ID"}}, clusters={"never_join": ["a@b.c"]}
        )
        second = first.with_values(sales_connect={"columns": {"email": "Mail"}}, clusters={"never_join": []})
        assert second.sales_connect.columns == {"email": "Mail"}
        assert second.clusters.never_join == []

    def test_paths_stay_paths(self, tmp_path: Path) -> None:
        loaded = settings.load(tmp_path)
        assert loaded.with_values(sync={"enabled": False}).run == loaded.run

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"sink": {}}, "there is no section [sink]"),
            ({"with_values": {}}, "there is no section [with_values]"),
            ({"sync": {"enable": True}}, "the settings: sync.enable: there is no such setting"),
            ({"sync": {"run_at": "23:00"}}, "run_at must lie between"),
            ({"sync": 5}, "sync: "),
            ({"sales_connect": {"gateway": None}}, "sales_connect.gateway: "),
            ({"sales_connect": {"gateway": {"page_size": 0}}}, "sales_connect.gateway.page_size: "),
        ],
    )
    def test_what_cant_be_used_is_told(self, values: dict[str, Any], told: str) -> None:
        with pytest.raises(SettingsError, match=re.escape(told)):
            Settings().with_values(**values)

    def test_nothing_replaced_is_the_same(self) -> None:
        plain = Settings()
        assert plain.with_values() == plain == plain.with_values(sync={}, sales_connect={"gateway": {}})
