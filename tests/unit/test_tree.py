"""What must hold for the files of the project themselves: locks, and no address of any registry anywhere."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Put together here, so that this file holds none of them itself.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("proxy", "golang", "org"),
    )
]
REQUIREMENT = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this isn't a git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_tracked_file_names_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked_files()
        for host in REGISTRY_HOSTS
        if host.encode() in path.read_bytes()
    ]

    assert not found


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_a_lock_pins_every_package_with_hashes_and_says_nothing_of_where_from(lock: str) -> None:
    text = (ROOT / lock).read_text()
    # One entry reaches from a line that begins with a name to the next such line.
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert len(entries) > 20
    assert [entry for entry in entries if not REQUIREMENT.match(entry)] == []
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?://|--index|--extra-index|--find-links", text) == []


def test_the_tests_run_on_the_versions_that_users_run_on() -> None:
    runtime = dict(REQUIREMENT.findall((ROOT / "requirements.txt").read_text()))
    development = dict(REQUIREMENT.findall((ROOT / "requirements-dev.txt").read_text()))

    assert runtime.items() <= development.items()


def test_the_lock_holds_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {re.split(r"[\[>=<;]", line)[0].strip() for line in project["project"]["dependencies"]}
    wanted |= {re.split(r"[\[>=<;]", line)[0] for line in project["dependency-groups"]["build"]}

    assert wanted <= set(dict(REQUIREMENT.findall((ROOT / "requirements.txt").read_text())))


def test_the_wheel_is_built_with_what_the_lock_holds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert project["build-system"]["requires"] == project["dependency-groups"]["build"]


def test_the_lock_of_the_page_covers_every_platform_and_names_no_address() -> None:
    lock = json.loads((ROOT / "ui" / "package-lock.json").read_text())
    packages = lock["packages"]
    optional = {
        name
        for about in packages.values()
        for name in about.get("optionalDependencies", {})
        if name not in about.get("peerDependenciesMeta", {})
    }
    locked = {place.rpartition("node_modules/")[2] for place in packages}

    assert optional - locked == set(), "npm ci refuses a lock that lacks what only other platforms install"
    assert [place for place, about in packages.items() if "resolved" in about] == []
    assert [place for place, about in packages.items() if place and "integrity" not in about] == []
