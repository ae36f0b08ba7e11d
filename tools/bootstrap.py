#!/usr/bin/env python3
"""Create the virtual environment that the Makefile's targets run in.

``python tools/bootstrap.py .venv`` replaces the folder. If the interpreter that runs this file
cannot import detectron2, everything is installed from the pinned lists in ``requirements/``. If it
can, the new environment uses its packages as they are, and only what is missing is installed
beside them, in compatible versions.

Only the standard library is used, because nothing else is installed yet.
"""

import argparse
import importlib.metadata
import importlib.util
import re
import site
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
# What takes long enough to be worth a line.
LARGE_FILE_MB = 300
MANY_PACKAGES = 10


def main(argv: list[str] | None = None) -> None:
    """Create the environment; exits with a sentence if that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the environment; replaced")
    folder = parser.parse_args(argv).folder.resolve()
    if folder == Path(sys.prefix).resolve():
        sys.exit(
            f"{folder} is the active environment: run `deactivate` first, so it can be replaced"
        )
    try:
        make_environment(folder)
    except subprocess.CalledProcessError as error:
        sys.exit(
            f"installation failed, see the lines above; the command was: {' '.join(error.cmd)}"
        )


def make_environment(folder: Path) -> None:
    """Create ``folder`` and install into it what training, tests and lint need."""
    reuse = has_detectron2()
    print(f"creating {folder} with Python {sys.version.split()[0]} of {sys.prefix}", flush=True)
    # Unlike venv.create(), the command names a system package that is missing.
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = folder / "bin" / "python"
    if reuse:
        print("using the detectron2 and torch that are installed", flush=True)
        show_packages_of_this_interpreter(python)
        install_what_is_missing(python)
    else:
        print("installing the pinned requirements: some minutes, mostly for torch", flush=True)
        install_pinned(python)
    print(f"{folder} is ready", flush=True)


def has_detectron2() -> bool:
    """Whether the interpreter running this file can import detectron2 and its models."""
    # In a separate process, which a failing import of torch may leave in any state.
    command = [sys.executable, "-c", "import torchvision, detectron2.model_zoo"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REQUIREMENTS)
    if result.returncode and has_module("detectron2"):
        reason = result.stderr.strip().splitlines()[-1:] or ["no reason given"]
        print(f"the detectron2 of {sys.prefix} cannot be imported and is not used: {reason[0]}")
    return result.returncode == 0


def install_pinned(python: Path) -> None:
    """Install the lists of ``requirements/``, all versions exact, and this package."""
    pip_install(python, "-r", REQUIREMENTS / "build.txt")
    # Without isolation, source packages are built by the pinned setuptools.
    lists = ("-r", REQUIREMENTS / "run.txt", "-r", REQUIREMENTS / "dev.txt")
    pip_install(python, "--no-build-isolation", *lists)
    install_detectron2(python, purelib(python))
    pip_install(python, "--no-build-isolation", "--no-deps", "-e", ROOT)


def install_detectron2(python: Path, folder: Path) -> None:
    """Install the wheel of ``requirements/detectron2.txt`` into ``folder``, its hash checked."""
    # The wheel is tagged for Python 3.10; pip takes another Python's wheel into a --target only.
    tag = ("--python-version", "3.10", "--implementation", "cp", "--abi", "none")
    wheel_of_any_python = (*tag, "--platform", "any", "--only-binary", ":all:", "--no-deps")
    wheel = ("--require-hashes", "-r", REQUIREMENTS / "detectron2.txt")
    pip_install(python, *wheel_of_any_python, "--target", folder, *wheel)


def show_packages_of_this_interpreter(python: Path) -> None:
    """Let the environment of ``python`` import the packages of this interpreter."""
    folders = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    # Not --system-site-packages, which skips the packages of a virtual environment that runs this
    # file. addsitedir also reads .pth files, as an editable installation of detectron2 needs.
    lines = [f"import site; site.addsitedir({folder!r})\n" for folder in folders]
    (purelib(python) / "packages_of_user.pth").write_text("".join(lines))


def install_what_is_missing(python: Path) -> None:
    """Install this package and its tools beside the user's packages, which keep their versions."""
    constraints = python.parents[1] / "versions_of_user.txt"
    constraints.write_text("".join(installed_versions(importlib.metadata.distributions())))
    # Only these, not what the user's packages require, which is not always consistent.
    missing = missing_requirements((REQUIREMENTS / "run.in").read_text().splitlines())
    # The build tools too: some Pythons put an old setuptools into every new environment.
    pip_install(python, "-c", constraints, "setuptools", "wheel", *missing)
    # Always the pinned tools, so that lint gives the same result everywhere.
    tools = ("--ignore-installed", "--no-deps", "-r", REQUIREMENTS / "dev.txt")
    pip_install(python, *tools)
    pip_install(python, "--no-deps", "-e", ROOT)


def missing_requirements(lines: list[str]) -> list[str]:
    """The lines of a requirements file that the interpreter running this file does not satisfy."""
    missing = []
    for line in lines:
        name = re.match(r"\w[\w-]*", line)
        if name is None:
            continue
        # OpenCV has several distributions, of which only one may be installed.
        opencv = name[0].startswith("opencv")
        if not (has_module("cv2") if opencv else has_distribution(name[0])):
            missing.append(line)
    return missing


def installed_versions(packages: Iterable[importlib.metadata.Distribution]) -> list[str]:
    """The packages as lines of a constraints file; of several versions the first counts."""
    versions: dict[str, str] = {}
    for package in packages:
        name = (package.metadata["Name"] or "").lower().replace("_", "-")
        versions.setdefault(name, package.version)
    # An interrupted pip leaves distributions without a name. autoassign itself is replaced.
    kept = sorted(versions.keys() - {"", "autoassign"})
    return [f"{name}=={versions[name]}\n" for name in kept]


def has_module(name: str) -> bool:
    """Whether the interpreter running this file has a module ``name``."""
    return importlib.util.find_spec(name) is not None


def has_distribution(name: str) -> bool:
    """Whether the interpreter running this file has a distribution of this name."""
    return any(importlib.metadata.distributions(name=name))


def pip_install(python: Path, *arguments: str | Path) -> None:
    """Run ``pip install``; prints what takes long, and all of pip's output if it fails."""
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", *arguments)
    command = [str(part) for part in pip]
    output: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            output.append(line)
            file = re.match(r"\s*Downloading (\S+) \((\d+\.\d) MB\)", line)
            if file and float(file[2]) > LARGE_FILE_MB:
                print(f"  downloading {file[1]}, {file[2]} MB", flush=True)
            num_packages = line.count(",") + 1
            if line.startswith("Installing collected packages:") and num_packages > MANY_PACKAGES:
                print(f"  unpacking {num_packages} packages", flush=True)
    if process.returncode:
        sys.stderr.writelines(output)
        raise subprocess.CalledProcessError(process.returncode, command)


def purelib(python: Path) -> Path:
    """The folder of the packages of ``python``."""
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
