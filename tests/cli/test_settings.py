"""Settings from variables and files: which wins, what is refused, and what `config` shows."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import commands, program
from program import Ran, inside
from written import picture

from dicomsort.cli import settings
from dicomsort.cli.spelling import choices_of, key_of, spelled, type_of
from dicomsort.errors import ExitCode

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the machine's; the user's are in a folder of this test."""
    for name in list(os.environ):
        if name.startswith("DICOMSORT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write settings of classify, at a path below the test's folder."""

    def write(path: str, *lines: str, table: str = "classify") -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([f"[{table}]", *lines, ""]), encoding="utf-8")
        return file

    return write


def given(*words: str, command: str = "classify") -> dict[str, Any]:
    """What a command gets as its parameters from these words, and what else is set."""
    group = program()
    with group.context_class(group, info_name="dicomsort") as parent:
        taken: dict[str, Any] = commands()[command].make_context(command, list(words), parent=parent).params
    return taken


USER, BESIDE = "home/dicomsort/dicomsort.toml", "dicomsort.toml"


def test_an_option_wins_over_variables_these_over_files_and_these_over_the_default(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["in", "--out", str(tmp_path / "out")]

    def workers(*more: str) -> int | None:
        found: int | None = given(*words, *more)["workers"]
        return found

    assert workers() is None
    write(USER, "workers = 2")
    assert workers() == 2
    write(BESIDE, "workers = 3")
    assert workers() == 3
    named = write("mine.toml", "workers = 4")
    assert workers("--config", str(named)) == 4
    monkeypatch.setenv("DICOMSORT_WORKERS", "5")
    assert workers("--config", str(named)) == 5
    monkeypatch.setenv("DICOMSORT_CLASSIFY_WORKERS", "6")
    assert workers("--config", str(named)) == 6
    assert workers("--config", str(named), "--workers", "7") == 7


def test_each_setting_comes_from_the_first_file_that_has_it(write: Write, tmp_path: Path) -> None:
    write(USER, "workers = 2", "batch-size = 8")
    write(BESIDE, "workers = 3")
    taken = given("in", "--out", str(tmp_path / "out"))
    assert (taken["workers"], taken["batch_size"]) == (3, 8)


def test_values_become_what_the_option_makes_of_them(write: Write, tmp_path: Path) -> None:
    lines = ['model = ["router5", "hardware"]', "verify = true", "timeout = 9", 'action = "symlink"']
    write(BESIDE, *lines, "review-below = 0.5", "no-archives = true")
    taken = given("in", "--out", str(tmp_path / "out"))
    assert (taken["model"], taken["verify"], taken["timeout"]) == (["router5", "hardware"], True, 9.0)
    assert (taken["action"].value, taken["review_below"], taken["no_archives"]) == ("symlink", 0.5, True)


def test_a_flag_that_a_file_sets_is_taken_back_by_its_opposite_or_a_variable(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(BESIDE, "verify = true", "no-archives = true")
    words = ["in", "--out", str(tmp_path / "out")]
    taken = given(*words, "--no-verify", "--archives")
    assert (taken["verify"], taken["no_archives"]) == (False, False)
    monkeypatch.setenv("DICOMSORT_VERIFY", "no")
    assert given(*words)["verify"] is False


def test_a_variable_holds_several_values_with_spaces_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOMSORT_MODEL", "router5 view")
    assert given("in", "--out", str(tmp_path / "out"))["model"] == ["router5", "view"]


def test_the_output_itself_may_be_set_and_the_file_beside_it_is_read(write: Write, tmp_path: Path) -> None:
    write(USER, f'out = "{tmp_path}/there/out"')
    write("there/dicomsort.toml", "workers = 3")
    taken = given("in")
    assert (taken["out"], taken["workers"]) == (f"{tmp_path}/there/out", 3)


def test_the_file_beside_an_output_is_found_by_its_manifest_too(write: Write, tmp_path: Path) -> None:
    write(BESIDE, "verify = true", table="apply")
    (tmp_path / "out").mkdir()
    for named in (tmp_path / "out", tmp_path / "out" / "manifest.csv"):
        assert given(str(named), command="apply")["verify"] is True


def test_a_command_of_a_group_has_a_table_and_variables_of_its_own(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(USER, "json = true", table="model.export")
    monkeypatch.setenv("DICOMSORT_MODEL_EXPORT_QUIET", "1")
    shown = rows_of(inside(capfd, "config", "model", "export", "--json"))
    assert (shown["json"], shown["quiet"]) == (
        ("yes", str(tmp_path / USER)),
        ("1", "variable DICOMSORT_MODEL_EXPORT_QUIET"),
    )


def test_a_file_of_another_user_beside_an_output_is_not_read(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(BESIDE, "workers = 3")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(settings, "ROOT_USER", 4243)
    assert given("in", "--out", str(tmp_path / "out"))["workers"] is None
    assert f"'{file}' belongs to another user and is not read: give it by --config" in capfd.readouterr().err
    assert given("in", "--out", str(tmp_path / "out"), "--config", str(file))["workers"] == 3


def test_a_link_of_another_user_beside_an_output_is_not_followed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / BESIDE
    link.symlink_to(write("mine.toml", "workers = 3"))
    monkeypatch.setattr(settings, "ROOT_USER", os.geteuid())
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: os.stat_result((*lstat(path)[:4], 4242, *lstat(path)[5:])))
    assert given("in", "--out", str(tmp_path / "out"))["workers"] is None
    assert f"'{link}' belongs to another user" in capfd.readouterr().err


WRONG = [
    ("[clasify]\nworkers = 1", "there is no command 'clasify': did you mean classify?"),
    ("workers = 1", "'workers' stands outside of a table: put it under one such as [classify]"),
    ("[classify]\nworker = 1", "[classify] has no setting 'worker': did you mean workers?"),
    ("[classify]\nbatch_size = 1", "[classify] has no setting 'batch_size': did you mean batch-size?"),
    ("[classify]\nzzz = 1", "[classify] has no setting 'zzz'; see `dicomsort classify --help`"),
    ('[classify]\nworkers = "four"', "[classify] workers must be a whole number such as 4"),
    ("[classify]\nworkers = 1.5", "[classify] workers must be a whole number such as 4"),
    ("[classify]\nworkers = true", "[classify] workers must be a whole number such as 4"),
    ("[classify]\nworkers = 0", "[classify] workers '0' must be at least 1"),
    ('[classify]\nverify = "yes"', "[classify] verify must be true or false"),
    ("[classify]\nlayout = 3", '[classify] layout must be a text in quotes such as "text"'),
    ('[classify]\nmodel = "router5"', '[classify] model must be a list such as [ "text" ]'),
    ('[classify]\nevidence = "headr"', "[classify] evidence 'headr' is unknown: use header, pixels; "
     "did you mean header?"),
    ('[classify]\ndevice = "cud"', "[classify] device 'cud' is unknown; did you mean cuda?"),
    ('[classify]\npassword = "geheim"', "[classify] 'password': no credentials in a file: "
     "set DICOMSORT_PACS_TOKEN, or use ~/.netrc"),
    ("classify = 1", "'classify' must be a table: [classify]"),
    ("[[classify]]\nworkers = 1", "'classify' must be a table: [classify]"),
    ("[model.exprt]\njson = true", "there is no command 'model.exprt': did you mean export?"),
    ('[classify]\nlog-file = "a\\u0000"', '[classify] log-file must be a text in quotes such as "text"'),
    (f"a = {'[' * 9000}", "is no TOML that can be read: it is nested too deep"),
    ("#" * (1 << 20) + "\n", "is too large for a settings file"),
    ("[classify\n", "is no TOML: expected ']' at the end of a table declaration (at line 1, column 10)"),
    ('[classify]\nlayout = "\xff"', "is no TOML: it is not UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_what_is_wrong_in_a_file_is_one_line_with_the_file_and_the_key(
    text: str, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_bytes(text.encode("latin-1"))
    ran = inside(capfd, "classify", "in", "--out", tmp_path / "out", "--config", file)

    assert (ran.code, ran.err) == (ExitCode.USAGE, f"dicomsort: {file}: {line}\n")
    assert "geheim" not in ran.err


def test_a_group_of_commands_has_no_settings_of_its_own(
    write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(USER, "json = true", table="model")
    ran = inside(capfd, "model", "export", "router5")
    line = "'model.json' stands outside of a table: put it under one such as [model.export]"
    assert (ran.code, ran.err) == (ExitCode.USAGE, f"dicomsort: {file}: {line}\n")


def test_a_file_may_begin_with_the_mark_that_editors_of_windows_write(write: Write, tmp_path: Path) -> None:
    file = write(BESIDE, "workers = 3")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert given("in", "--out", str(tmp_path / "out"))["workers"] == 3


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("DICOMSORT_WORKERS", "0", "variable DICOMSORT_WORKERS: '0' must be at least 1"),
        ("DICOMSORT_CLASSIFY_ACTION", "cpy", "variable DICOMSORT_CLASSIFY_ACTION: 'cpy' is unknown"),
        ("DICOMSORT_VERIFY", "perhaps", "variable DICOMSORT_VERIFY: 'perhaps' must be yes or no"),
        ("DICOMSORT_CONFIG", "/nowhere.toml", "there is no settings file '/nowhere.toml'"),
    ],
)
def test_what_is_wrong_in_a_variable_is_one_line_with_its_name(
    name: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    ran = inside(capfd, "classify", "in", "--out", "out")
    assert ran.code == ExitCode.USAGE
    assert ran.err.startswith(f"dicomsort: {line}")
    assert ran.err.count("\n") == 1


def test_a_variable_that_is_almost_a_setting_is_warned_of_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (
        "DICOMSORT_BATCHSIZE",
        "DICOMSORT_PORT",
        "DICOMSORT_PACS_USER",
        "DICOMSORT_SITE",
        "DICOMSORT_EPOCHS",
    ):
        monkeypatch.setenv(name, "1")
    given("in", "--out", str(tmp_path / "out"))
    warned = "warning: the variable DICOMSORT_BATCHSIZE sets nothing: did you mean DICOMSORT_BATCH_SIZE?"
    assert capfd.readouterr().err == f"dicomsort: {warned}\n"


def test_help_needs_no_settings_that_can_be_read(
    write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(USER, "nonsense = 1")
    assert inside(capfd, "classify", "--help").code == ExitCode.DONE
    assert inside(capfd, "classify", "in", "--out", tmp_path / "out").code == ExitCode.USAGE


def rows_of(ran: Ran) -> dict[str, tuple[str, str]]:
    """What `config --json` shows, by setting: its value, and from where it is."""
    assert ran.code == ExitCode.DONE, ran.err
    return {row["setting"]: (row["value"], row["source"]) for row in ran.json["settings"]}


def test_config_shows_each_setting_and_where_it_comes_from(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    user = write(USER, "workers = 2", 'query = ["Modality=DX"]')
    beside = write(BESIDE, "verify = true", "workers = 3")
    monkeypatch.setenv("DICOMSORT_DEVICE", "cpu")
    ran = inside(capfd, "config", "classify", "--out", tmp_path / "out", "--json")
    shown = rows_of(ran)
    assert shown["device"] == ("cpu", "variable DICOMSORT_DEVICE")
    assert (shown["verify"], shown["workers"]) == (("yes", str(beside)), ("3", str(beside)))
    assert shown["query"] == ("Modality=DX", str(user))
    assert (shown["action"], shown["restart"]) == (("copy", "default"), ("no", "default"))
    assert [file["path"] for file in ran.json["files"]] == [str(beside), str(user)]
    table = inside(capfd, "config", "classify", "--out", tmp_path / "out")
    assert (table.code, table.err) == (ExitCode.DONE, "")
    assert "variable DICOMSORT_DEVICE" in table.out


@pytest.mark.parametrize(
    ("name", "option"), [("apply", "verify"), ("undo", "verify"), ("report", "json"), ("send", "quiet")]
)
def test_config_looks_beside_the_output_of_every_command(
    name: str, option: str, write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    beside = write(BESIDE, f"{option} = true", table=name)
    shown = rows_of(inside(capfd, "config", name, "--out", tmp_path / "out", "--json"))
    assert shown[option] == ("yes", str(beside))


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("workers = 0", "[classify] workers '0' must be at least 1"),
        ('action = "cpy"', "[classify] action 'cpy' is unknown: use"),
        ('device = "cud"', "[classify] device 'cud' is unknown; did you mean cuda?"),
        ("timeout = nan", "[classify] timeout 'nan' must be at most 86400"),
    ],
)
def test_config_refuses_what_the_command_would_refuse(
    setting: str, line: str, write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(USER, setting)
    ran = inside(capfd, "config", "classify")
    assert (ran.code, ran.out, ran.err.count("\n")) == (ExitCode.USAGE, "", 1)
    assert ran.err.startswith(f"dicomsort: {file}: {line}")


def test_a_conflict_with_what_was_not_typed_says_what_has_set_it(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("classify", tmp_path, "--out", tmp_path / "out")
    file = write(USER, "watch = 60")
    ran = inside(capfd, *words, "--shard", "1/2")
    assert ran.err.endswith(f" (--watch is set by {file})\n")
    monkeypatch.setenv("DICOMSORT_SHARD", "1/2")
    ran = inside(capfd, *words)
    assert ran.err.endswith(f" (--shard is set by variable DICOMSORT_SHARD, --watch is set by {file})\n")
    assert inside(capfd, *words, "--watch", "60", "--shard", "1/2").err.endswith(" until it is stopped\n")


def test_config_shows_no_secret_of_an_address(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    write(USER, 'to = "dicomweb+http://anna:geheim@host:8042/dicom-web"', table="send")
    ran = inside(capfd, "config", "send")
    assert "dicomweb+http://host:8042/dicom-web" in ran.out
    assert "geheim" not in ran.out + ran.err


def test_config_shows_no_patient_of_a_question(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    write(USER, 'query = ["Modality=DX", "PatientName=DOE^JANE"]')
    ran = inside(capfd, "config", "classify", "--json")
    assert rows_of(ran)["query"][0] == "Modality=DX, PatientName=..."
    assert "JANE" not in ran.out + ran.err


def test_config_alone_shows_where_files_are_looked_for(
    write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    user, named = write(USER, "workers = 2"), write("mine.toml", "workers = 4")
    ran = inside(capfd, "config", "--json", "--config", named, "--out", tmp_path / "out")
    assert [(file["path"], file["exists"]) for file in ran.json["files"]] == [
        (str(named), True), (str(tmp_path / BESIDE), False), (str(user), True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["clasify"], "there is no command 'clasify': did you mean classify?"),
        (["model"], "name one of the commands of model: export, evidence, anatomy"),
    ],
)
def test_config_of_no_command_is_a_slip(
    words: list[str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = inside(capfd, "config", *words)
    assert (ran.code, ran.err) == (ExitCode.USAGE, f"dicomsort: {line}\n")


def test_what_a_file_sets_is_recorded_as_what_is_typed_is(
    write: Write, write_dicom: Write, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", picture(0))
    typed = [
        "--model",
        str(small_model),
        "--action",
        "none",
        "--review-below",
        "0.25",
        "--evidence",
        "pixels",
    ]
    lines = [f'model = ["{small_model}"]', 'action = "none"', "review-below = 0.25", 'evidence = "pixels"']
    write("set/dicomsort.toml", *lines)
    plain = ("--device", "cpu", "--workers", "1", "--quiet")
    assert inside(capfd, "classify", tmp_path / "in", "--out", tmp_path / "typed", *typed, *plain).code == 0
    assert inside(capfd, "classify", tmp_path / "in", "--out", tmp_path / "set" / "out", *plain).code == 0
    folders = (tmp_path / "typed", tmp_path / "set" / "out")
    typed_run, set_run = (json.loads((folder / "run.json").read_text()) for folder in folders)
    assert typed_run["fixed"] == set_run["fixed"]
    assert typed_run["runs"] == set_run["runs"]
    assert (set_run["fixed"]["review_below"], set_run["runs"][0]["action"]) == (0.25, "none")


def test_a_variable_that_a_command_has_declared_wins_over_that_of_all_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERCURE_IN_DIR", str(tmp_path))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(tmp_path / "theirs"))
    monkeypatch.setenv("DICOMSORT_OUT", str(tmp_path / "ours"))
    assert given(command="mercure")["out_dir"] == tmp_path / "theirs"


def samples(option: Any) -> tuple[str, str]:
    """Two values that an option takes, as they are typed; those of a flag are yes and no."""
    if option.is_flag:
        return "true", "false"
    if choices := choices_of(option):
        return choices[0], choices[-1]
    if type_of(option) is str:
        return ("cpu", "auto") if key_of(option) == "device" else ("one", "other")
    least = option.min if option.min is not None else 1
    most = option.max if option.max is not None else least + 1
    return str(least), str(most)


def as_toml(option: Any, value: str) -> str:
    plain = value if option.is_flag or type_of(option) is not str else f'"{value}"'
    return f"[{plain}]" if option.multiple else plain


def as_typed(option: Any, value: str) -> list[str]:
    if option.is_flag:
        return [option.opts[0] if value == "true" else option.secondary_opts[0]]
    return [spelled(option), value]


GROUP, COMMANDS = program(), commands()
OPTIONS = [
    (name, key_of(option))
    for name, command in COMMANDS.items()
    for option in settings.options_of(command)
    if len(choices_of(option)) != 1
]


@pytest.mark.parametrize(("name", "key"), OPTIONS, ids=[" ".join(pair) for pair in OPTIONS])
def test_each_option_of_each_command_may_be_typed_or_set_to_the_same_effect_and_the_first_wins(
    name: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks: typed, the command's variable, that of all commands, the file that is named, the user's."""
    command = COMMANDS[name]
    option = next(one for one in settings.options_of(command) if key_of(one) == key)
    monkeypatch.chdir(tmp_path)
    one, other = samples(option)

    def taken(*typed: str) -> Any:
        ctx = GROUP.context_class(GROUP, info_name="dicomsort")
        for word in name.split():
            ctx = GROUP.context_class(command, info_name=word, parent=ctx)
        settings.prepare(command, ctx, typed)
        return option.handle_parse_result(ctx, settings.typed(ctx), [])[0]

    def file(path: str, value: str) -> str:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        text = f"[{'.'.join(name.split())}]\n{key} = {as_toml(option, value)}\n"
        (tmp_path / path).write_text(text, encoding="utf-8")
        return str(tmp_path / path)

    with_one, with_other = taken(*as_typed(option, one)), taken(*as_typed(option, other))
    assert with_one != with_other
    file(USER, one)
    assert taken() == with_one
    named = ("--config", file("named.toml", other))
    assert taken(*named) == with_other
    shared, own = (
        "_".join(words).replace("-", "_").upper()
        for words in (["dicomsort", key], ["dicomsort", *name.split(), key])
    )
    monkeypatch.setenv(shared, one)
    assert taken(*named) == with_one
    monkeypatch.setenv(own, other)
    assert taken(*named) == with_other
    assert taken(*named, *as_typed(option, one)) == with_one
    for variable in (shared, own):
        monkeypatch.setenv(variable, "")
    assert taken(*named) == with_other


@pytest.mark.parametrize("name", commands())
def test_every_option_has_a_variable_of_its_command_and_one_of_all(name: str) -> None:
    group, command = program(), commands()[name]
    ctx = group.context_class(group, info_name="dicomsort")
    for word in name.split():
        ctx = group.context_class(command, info_name=word, parent=ctx)
    settings.name_variables(command, ctx)
    for option in settings.options_of(command):
        own = ["_".join(words).replace("-", "_").upper() for words in (
            ["dicomsort", *name.split(), key_of(option)], ["dicomsort", key_of(option)],
        )]  # fmt: skip
        names = list(option.envvar or ())
        assert [names[0], names[-1]] == own


def test_config_alone_says_how_the_file_beside_an_output_is_seen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hint = "dicomsort: with the one beside an output: dicomsort config --out FOLDER\n"
    assert inside(capfd, "config").err == hint
    shown = inside(capfd, "config", "--out", tmp_path / "out")
    assert (shown.err, "beside the output" in shown.out) == ("", True)
