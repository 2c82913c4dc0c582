"""docker-compose.yml and Dockerfile: what they say is sound, and the commands they start work together."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from jsonschema.validators import validator_for  # type: ignore[import-untyped]

from gradattn_core.audit.run import audit_images
from gradattn_core.cli import build_parser
from tests.helpers.container_processes import (
    BIN,
    COMPOSE,
    DOCKERFILE,
    FROM_OUTSIDE,
    ROOT,
    SERVICES,
    Processes,
    postgres_tool,
)
from tests.helpers.tiny import make_tiny

VOLUMES = set(COMPOSE["volumes"])
PINNED = r"[\w./-]+:\d+\.\d+[\w.-]*"
SECRET = r"(?i)(?:secret|token|api_key|passw\w*)\s*[:=]\s*\S"


def test_the_file_is_what_compose_understands() -> None:
    found = importlib.util.find_spec("check_jsonschema")
    if found is None or found.origin is None:
        pytest.skip("check-jsonschema, which ships the Compose Specification, is not installed")
    schema = json.loads((Path(found.origin).parent / "builtin_schemas/vendor/compose-spec.json").read_text("utf-8"))
    validator = validator_for(schema)(schema)
    validator.validate(COMPOSE)
    broken = COMPOSE | {"services": SERVICES | {"worker": SERVICES["worker"] | {"helthcheck": {}}}}
    assert not validator.is_valid(broken)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_be_started_checked_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert check["interval"] and check["timeout"] and check["retries"]
    match check["test"]:
        case ["CMD", "python", "-c", program]:
            compile(program, name, "exec")
        case ["CMD", "pg_isready", *_]:
            assert name == "database"
        case other:
            pytest.fail(f"{other} is no check of this project")
    match service.get("command"):
        case ["gradattn", *arguments]:
            build_parser().parse_args(arguments)
        case ["prefect", "server", "start", *_]:
            assert (BIN / "prefect").is_file()
        case None:
            assert name == "database"
        case other:
            pytest.fail(f"{other} is no command of this project")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_only_for_services_that_are_there_and_have_a_check(name: str) -> None:
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        # The page waits for the image that the server makes, not for the server.
        condition = "service_started" if name == "page" else "service_healthy"
        assert wanted == {"condition": condition} and "healthcheck" in SERVICES[other]
        assert not SERVICES[other].get("profiles")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_writes_to_named_volumes_only_and_is_no_door_into_the_machine(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source, target, *mode = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")
        if target not in ("/var/lib/postgresql/data", "/run/postgresql"):
            assert f" {target} " in f" {DOCKERFILE.replace(chr(10), ' ')} ", f"the image has no folder {target}"
        assert source in VOLUMES or (source.startswith("./") and mode == ["ro"])
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{GRADATTN_\w*PORT:-\d+\}:\d+", port) for port in service.get("ports", []))
    assert service["cap_drop"] == ["ALL"] and not service.get("privileged")
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_database_is_reached_by_the_server_alone_and_keeps_everything_in_its_volume() -> None:
    database = SERVICES["database"]
    assert database["network_mode"] == "none" and not database.get("ports")
    assert not database["user"].startswith(("0", "root"))
    assert database["volumes"] == ["database:/var/lib/postgresql/data", "socket:/run/postgresql"]
    address = urlsplit(SERVICES["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"])
    assert (address.scheme, address.query) == ("postgresql+asyncpg", "host=/run/postgresql")
    assert address.username == database["environment"]["POSTGRES_USER"] and address.password is None
    assert address.path == f"/{database['environment']['POSTGRES_DB']}"
    sharing = [name for name, service in SERVICES.items() if "socket:/run/postgresql" in service["volumes"]]
    assert sharing == ["database", "server"]


def test_nothing_secret_is_written_down_and_what_is_built_on_is_pinned() -> None:
    for line in ((ROOT / "docker-compose.yml").read_text("utf-8") + DOCKERFILE).splitlines():
        if re.search(SECRET, line) and not line.startswith("#"):
            # The image wants one; there is no network on which it could be asked for.
            assert line.strip() == "POSTGRES_PASSWORD: asked-of-nobody", line
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases and all(re.fullmatch(PINNED, base) for base in bases)
    for name, service in SERVICES.items():
        if name == "database":
            assert re.fullmatch(PINNED, service["image"]) and "build" not in service
        else:
            assert service["image"] == ("gradattn:gpu" if name == "worker-gpu" else "gradattn:local")
    # Built once: by the service that the others wait for; and by the one whose image is another.
    assert [name for name, service in SERVICES.items() if "build" in service] == ["server", "worker-gpu"]
    # What only a GPU's work loads is in the image of that worker alone.
    builds = {name: SERVICES[name]["build"]["args"] for name in ("server", "worker-gpu")}
    assert builds["worker-gpu"] == {"GPU": "1"} and "GPU" not in builds["server"] and "\nARG GPU=\n" in DOCKERFILE
    assert all("server" in SERVICES[name]["depends_on"] for name in ("worker", "worker-gpu", "page"))
    assert "--constraint constraints.txt" in DOCKERFILE
    user = DOCKERFILE.index("\nUSER ")
    assert DOCKERFILE[user:].split()[1] != "root" and user < DOCKERFILE.index("\nCMD ")
    assert ".env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_everything_has_a_default_so_that_no_command_needs_an_env_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == {match[1] for match in FROM_OUTSIDE.finditer(text)} | {
        *("GRADATTN_PAGE_URL", "GRADATTN_PREFECT_URL")  # whose defaults hold another
    }
    assert "GRADATTN_DATABASE_PASSWORD" not in text


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_limited_in_memory_and_its_root_file_system_is_read_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["tmpfs"] == ["/tmp"]
    assert re.fullmatch(r"\d+g|\$\{GRADATTN_\w+:-\d+g\}", service["mem_limit"])
    assert service["healthcheck"]["start_interval"] in ("1s", "2s"), "up --wait waits for the first check"


def test_what_fetches_models_is_told_of_a_hub_and_a_proxy_and_asks_prefects_server_without() -> None:
    for name in ("worker", "worker-gpu", "page"):
        environment = SERVICES[name]["environment"]
        handed_on = {key for key, value in environment.items() if value is None}
        assert {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY"} <= handed_on
        # Docker sets both where its configuration names a proxy.
        server = urlsplit(environment["PREFECT_API_URL"]).hostname
        assert all(server in environment[name].split(",") for name in ("NO_PROXY", "no_proxy"))


def test_prefects_page_is_checked_and_its_copy_can_be_written() -> None:
    (program,) = SERVICES["server"]["healthcheck"]["test"][3:]
    assert "'/api/health', '/'" in program
    settings = dict(re.findall(r" (PREFECT_\w+|HOME)=(\S+)", DOCKERFILE))
    assert settings["PREFECT_SERVER_UI_STATIC_DIRECTORY"].startswith("/tmp/") and settings["HOME"] == "/tmp"


def test_all_that_the_image_copies_is_there_and_not_ignored() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in rules
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = shlex.split(line)
        for source in sources:
            assert (ROOT / source).exists() and f"!{source}" in rules


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    try:
        postgres_tool("initdb")
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    # Not below pytest's folder, into which the account without rights could not look.
    with tempfile.TemporaryDirectory(prefix="gradattn-database-") as database:
        found = Processes(tmp_path, Path(database))
        try:
            yield found
        finally:
            found.stop()


def test_the_containers_commands_as_processes_carry_a_scheduled_audit_to_its_csv(
    processes: Processes, tmp_path: Path
) -> None:
    tiny = make_tiny(tmp_path / "data", per_class=14)
    for name in ("database", "server", "worker"):
        processes.start(name)
        processes.wait_until_healthy(name)
    processes.start("page")
    processes.schedule(tiny, "--every", "52w")
    processes.run_now()
    run = processes.wait_for_run("COMPLETED")
    assert run["work_pool_name"] == "gradattn"
    processes.wait_until_healthy("page")
    audit_images(tiny.config(tmp_path / "plain"))
    assert (processes.results / "candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()


@pytest.mark.slow
def test_a_scheduled_audit_survives_the_kill_of_its_worker_and_of_the_server(
    processes: Processes, tmp_path: Path
) -> None:
    tiny = make_tiny(tmp_path / "data", per_class=60)
    for name in ("database", "server", "worker"):
        processes.start(name)
        processes.wait_until_healthy(name)
    processes.schedule(tiny, "--every", "1m", "--shard-size", "2")
    # Nobody asked for this run: it fell due.
    processes.wait_for_shard(10)
    processes.pause()
    run = processes.wait_for_run("RUNNING")
    assert run["auto_scheduled"]
    processes.kill("worker", int(run["infrastructure_pid"]))
    kept = {path: path.stat().st_mtime_ns for path in processes.results.glob("work/*/sweep-*.parquet")}
    processes.kill("server")
    processes.start("server")
    processes.wait_until_healthy("server")
    assert processes.ask(f"flow_runs/{run['id']}")["state"]["type"] == "RUNNING"
    processes.start("worker")
    processes.wait_for_shard(len(kept) + 10)
    # And again, under a run at work: it does without a server for as long as it only computes.
    processes.kill("server")
    time.sleep(3)
    processes.start("server")
    processes.wait_until_healthy("server")
    assert processes.wait_for_run("COMPLETED")["id"] == run["id"]
    (features,) = processes.results.glob("features/*")
    assert all((features / path.name).stat().st_mtime_ns == moment for path, moment in kept.items())
    audit_images(tiny.config(tmp_path / "plain", shard_size=2))
    assert (processes.results / "candidates.csv").read_bytes() == (tmp_path / "plain/candidates.csv").read_bytes()
