"""Installs the Python packages that a function asks for, each once on the machine.

Reads one line of JSON from standard input and answers with one on standard output:
{"installed": {"packages": [..], "new": [..]}} or {"error": ".."}. pip decides which versions are
taken and downloads them; wheels are unpacked here. No code of a package runs: only wheels are taken,
and pip is kept from starting programs. Ends when standard input does, so that it does not outlive
whoever started it.
"""

import compileall
import hashlib
import json
import os
import py_compile
import re
import resource
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile

MARK = "has to be built"

# Runs pip. What would be built would run code of the package's; pip builds by starting programs.
GUARDED_PIP = """
import runpy, sys
def refuse(event, args):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn",
                 "os.fork", "os.forkpty", "pty.spawn"):
        raise PermissionError(1, "%s, or from version control")
sys.addaudithook(refuse)
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
""" % MARK

# Settings of pip's that would make it put files elsewhere or build.
UNWANTED = ("TARGET", "PREFIX", "ROOT", "USER", "REQUIRE_VIRTUALENV", "NO_BINARY", "ONLY_BINARY",
            "NO_DEPS", "NO_DEPENDENCIES", "REPORT", "QUIET", "VERBOSE", "LOG", "PYTHON", "EDITABLE",
            "REQUIREMENT", "CACHE_DIR", "NO_CACHE_DIR", "DEST", "SRC", "CONSTRAINT_BUILD")

NAME = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)$")
HASH = re.compile(r"\s--hash[=\s]\s*\S+")
NESTING_MAX = 8
WORKERS_MAX = 4
# From so many files on, several processes compile faster than one.
MANY_FILES = 200


class Refused(Exception):
    """What the user is told."""


def main():
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(0, 65536)
        if not read:
            return
        line += read
    asked = json.loads(line)
    threading.Thread(target=watch, args=(asked,), daemon=True).start()
    try:
        answer = {"installed": install(asked)}
    except Refused as refused:
        answer = {"error": str(refused)}
    except OSError as error:
        answer = {"error": "%s: %s" % (error.filename or "the installer", error.strerror)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def watch(asked):
    """Ends everything when whoever asked is gone, or when the disk would fill up."""
    while True:
        ready, _, _ = select.select([0], [], [], 1.0)
        if ready and not os.read(0, 4096):
            os.killpg(0, signal.SIGKILL)
        if size_of(asked["work"]) > 2 * asked["bytes_max"]:
            sys.stderr.write("more than %d bytes were downloaded\n" % (2 * asked["bytes_max"]))
            sys.stderr.flush()
            os.killpg(0, signal.SIGKILL)


def size_of(folder):
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                pass
    return total


def install(asked):
    requirements = Requirements(asked)
    if requirements.are_packed_along():
        return {"packages": [], "new": []}
    if not requirements.lines:
        return {"packages": [], "new": []}
    remembered = Remembered(asked, requirements.key())
    packages = remembered.read()
    if packages is not None:
        return {"packages": packages, "new": []}
    resource.setrlimit(resource.RLIMIT_FSIZE, (asked["bytes_max"], asked["bytes_max"]))
    wanted = resolve(asked, requirements)
    missing = [each for each in wanted if not each.is_there()]
    if missing:
        download(asked, requirements, missing)
        unpack(asked, missing)
    packages = [each.describe() for each in wanted]
    remembered.write(packages)
    return {"packages": packages, "new": [each.folder for each in missing if not each.is_there()]}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


class Requirements:
    """requirements.txt and what it includes, checked line by line. pip reads what we wrote."""

    def __init__(self, asked):
        self.code = os.path.realpath(asked["code"])
        self.work = asked["work"]
        self.left = asked["requirements_max"]
        self.options = []
        self.lines = []
        # Of each line; None where only the wheel would tell.
        self.names = []
        self.constraints = []
        self.tag = asked["tag"]
        self.read(asked["requirements"], 0, True)

    def read(self, path, depth, is_requirement):
        if depth > NESTING_MAX:
            raise Refused("%s: files include each other too deeply" % path)
        whole = os.path.realpath(os.path.join(self.code, path))
        if not whole.startswith(self.code + os.sep):
            raise Refused("%s lies outside of the function's folder" % path)
        try:
            with open(whole, "rb") as file:
                data = file.read(self.left + 1)
        except OSError as error:
            raise Refused("%s: %s" % (path, error.strerror)) from None
        self.left -= len(data)
        if self.left < 0:
            raise Refused("%s is too long" % path)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Refused("%s is not UTF-8" % path) from None
        for line in logical(text):
            self.take(line, path, depth, is_requirement)

    def take(self, line, path, depth, is_requirement):
        def refuse(why):
            raise Refused("%s: `%s` %s" % (path, line[:200], why))

        if "\0" in line or "${" in line:
            refuse("holds a variable of the environment, which is not replaced here")
        if line.startswith("-"):
            option, _, value = re.sub(r"^(-[a-zA-Z])(?=[^\s=-])", r"\1 ", line).partition(
                "=" if re.match(r"^--[a-z-]+=", line) else " ")
            value = value.strip()
            folder = os.path.dirname(path)
            if option in ("-r", "--requirement"):
                self.read(os.path.join(folder, value), depth + 1, is_requirement)
            elif option in ("-c", "--constraint"):
                self.read(os.path.join(folder, value), depth + 1, False)
            elif option in ("-i", "--index-url", "--pypi-url", "--extra-index-url", "-f",
                            "--find-links"):
                if not re.match(r"^https?://\S+$", value):
                    refuse("is not a URL of an index")
                self.options.append("%s %s" % (option, value))
            elif option == "--trusted-host":
                if not re.match(r"^[A-Za-z0-9.:\[\]-]+$", value):
                    refuse("is not a host")
                self.options.append("%s %s" % (option, value))
            elif option in ("--pre", "--prefer-binary", "--require-hashes", "--no-index"):
                self.options.append(option)
            elif option in ("--only-binary",):
                pass
            elif option in ("-e", "--editable"):
                refuse("%s: pack it with the function's files instead" % MARK)
            elif option == "--no-binary":
                refuse("asks for a build, and packages are not built on a node: add a built copy to "
                       "the function's files instead")
            else:
                refuse("is an option that has no meaning here")
            return
        bare = HASH.sub("", " " + line).strip()
        name = None
        if re.match(r"^[a-z+]+://", bare):
            self.check_url(bare, refuse)
        else:
            match = NAME.match(bare)
            rest = match.group(3) if match else ""
            if not match or not re.match(r"^($|[=<>!~;@(])", rest):
                refuse("is no name of a package; local packages belong among the function's files")
            if rest.startswith("@"):
                self.check_url(rest[1:].strip(), refuse)
            name = normal(match.group(1))
        if is_requirement:
            self.lines.append(line)
            self.names.append(name)
        else:
            self.constraints.append(line)

    @staticmethod
    def check_url(text, refuse):
        url = text.split()[0].split("#")[0].split("?")[0] if text.split() else ""
        if not url.startswith(("https://", "http://")) or not url.endswith(".whl"):
            refuse("%s: only wheels may be named by URL" % MARK)

    def are_packed_along(self):
        """Whether the archive holds the packages already, as those of many build tools do."""
        there = set()
        for entry in os.listdir(self.code):
            if entry.endswith(".dist-info"):
                there.add(normal(entry[: -len(".dist-info")].split("-")[0]))
        return bool(self.names) and all(name in there for name in self.names)

    def write(self, name, lines, options):
        path = os.path.join(self.work, name)
        text = list(options)
        if self.constraints:
            constraints = os.path.join(self.work, "constraints.txt")
            with open(constraints, "w", encoding="utf-8") as file:
                file.write("\n".join(self.constraints) + "\n")
            text.append("-c " + constraints)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(text + lines) + "\n")
        return path

    def key(self):
        text = json.dumps([self.tag, self.options, self.lines, self.constraints])
        return hashlib.sha256(text.encode()).hexdigest()


def logical(text):
    """Lines without comments, joined where they go on."""
    joined = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") and not joined:
            continue
        line = re.sub(r"(^|\s)#.*$", "", line)
        if line.endswith("\\"):
            joined += line[:-1].rstrip() + " "
            continue
        line = (joined + line.strip()).strip()
        joined = ""
        if line:
            yield line
    if joined.strip():
        yield joined.strip()


class Remembered:
    """Which packages satisfied the same requirements a moment ago."""

    def __init__(self, asked, key):
        self.store = asked["store"]
        self.fresh_s = asked["fresh_s"]
        self.most = asked["resolved_max"]
        self.folder = os.path.join(os.path.dirname(asked["work"]), "resolved")
        self.path = os.path.join(self.folder, key + ".json")

    def read(self):
        try:
            if not 0 <= time.time() - os.stat(self.path).st_mtime < self.fresh_s:
                return None
            with open(self.path, encoding="utf-8") as file:
                packages = json.load(file)
            there = all(os.path.isdir(os.path.join(self.store, each["folder"])) for each in packages)
            return packages if there else None
        except (OSError, ValueError):
            return None

    def write(self, packages):
        os.makedirs(self.folder, exist_ok=True)
        known = [os.path.join(self.folder, name) for name in os.listdir(self.folder)]
        known.sort(key=lambda path: os.stat(path).st_mtime)
        for path in known[: max(0, len(known) + 1 - self.most)]:
            os.unlink(path)
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            json.dump(packages, file)
        os.replace(self.path + ".new", self.path)


def pip(asked, arguments):
    environment = dict(os.environ)
    for name in UNWANTED:
        environment.pop("PIP_" + name, None)
    environment["PIP_CACHE_DIR"] = os.path.join(asked["work"], "cache")
    command = [sys.executable, "-I", "-c", GUARDED_PIP, *arguments,
               "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    told = subprocess.run(command, env=environment, cwd=asked["work"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if told.returncode != 0:
        raise Refused(explain(told.stderr.decode("utf-8", "replace")))


def explain(said):
    if "No module named pip" in said:
        return ("%s has no pip: install python3-pip (22.2 or newer) on the node, or add the packages "
                "to the function's files" % sys.executable)
    if "no such option: --report" in said:
        return "pip on the node is too old: 22.2 or newer is needed"
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    shown = [line[len("ERROR:"):].strip() if line.startswith("ERROR:") else line.strip()
             for line in errors[-6:]]
    text = "; ".join(shown) or "pip failed and said nothing"
    if MARK in said:
        text = "a package %s, and packages are not built on a node: " % MARK + shown[-1]
    elif "No matching distribution found" in text:
        text += (" (only wheels for Python %d.%d on this machine count: packages are not built on a "
                 "node; add a built copy to the function's files instead)" % sys.version_info[:2])
    return text[:2000]


class Distribution:
    """One distribution of a certain version."""

    def __init__(self, asked, item):
        self.asked = asked
        metadata, info = item["metadata"], item["download_info"]
        self.name = normal(metadata["name"])
        self.version = metadata["version"]
        if not re.match(r"^[A-Za-z0-9.!+_-]{1,100}$", self.version) or len(self.name) > 100:
            raise Refused("`%s` has the strange version `%s`" % (self.name, self.version[:100]))
        archive = info.get("archive_info") or {}
        digest = (archive.get("hashes") or {}).get("sha256")
        kind, _, value = (archive.get("hash") or "").partition("=")
        self.digest = digest or (value if kind == "sha256" else None)
        self.url = info["url"] if item.get("is_direct") else None
        self.folder = None
        self.at = None
        self.modules = None
        if self.digest:
            self.name_folder()

    def name_folder(self):
        self.folder = "%s-%s-%s-%s" % (self.name, self.version, self.asked["tag"], self.digest[:12])
        self.at = os.path.join(self.asked["store"], self.folder)

    def is_there(self):
        return self.folder is not None and os.path.isdir(
            os.path.join(self.asked["store"], self.folder))

    def requirement(self):
        if self.url:
            return "%s @ %s" % (self.name, self.url)
        return "%s==%s" % (self.name, self.version)

    def describe(self):
        return {"name": self.name, "version": self.version, "folder": self.folder,
                "modules": top_level(self.at)}


def top_level(folder):
    found = set()
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            module = name if name not in ("bin", "share", "include", "__pycache__") else ""
        else:
            module = name.split(".")[0] if name.endswith((".py", ".so")) else ""
        if module.isidentifier():
            found.add(module)
    return sorted(found)


def resolve(asked, requirements):
    """Which distributions satisfy the requirements."""
    report = os.path.join(asked["work"], "report.json")
    path = requirements.write("requirements.txt", requirements.lines, requirements.options)
    pip(asked, ["install", "--dry-run", "--ignore-installed", "--report", report, "-r", path])
    with open(report, encoding="utf-8") as file:
        items = json.load(file)["install"]
    if len(items) > asked["packages_max"]:
        raise Refused("they are %d packages with all that these need, more than the %d allowed"
                      % (len(items), asked["packages_max"]))
    # As they would be found in one folder, the order is no matter; sorted, it is always the same.
    return sorted((Distribution(asked, item) for item in items), key=lambda each: each.name)


def download(asked, requirements, missing):
    """Gets the wheels of what is missing, and finds out which is whose."""
    folder = os.path.join(asked["work"], "wheels")
    os.mkdir(folder)
    # What was decided with hashes is compared with them below.
    options = [option for option in requirements.options if option != "--require-hashes"]
    path = requirements.write("missing.txt", [each.requirement() for each in missing], options)
    pip(asked, ["download", "--no-deps", "--dest", folder, "-r", path])
    wheels = {}
    for name in os.listdir(folder):
        parts = name.split("-")
        if not name.endswith(".whl") or len(parts) < 5:
            raise Refused("`%s` %s, and packages are not built on a node" % (name, MARK))
        wheels[normal(parts[0])] = os.path.join(folder, name)
    for each in missing:
        wheel = wheels.get(each.name)
        if wheel is None:
            raise Refused("%s was not downloaded" % each.requirement())
        with open(wheel, "rb") as file:
            digest = hashlib.sha256()
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
        if each.digest not in (None, digest.hexdigest()):
            raise Refused("%s is not what the index had announced" % os.path.basename(wheel))
        each.digest = digest.hexdigest()
        each.name_folder()
        each.wheel = wheel


def unpack(asked, missing):
    """Unpacks wheels as the packaging specifications say, each into a folder of its own."""
    left = asked["bytes_max"]
    os.mkdir(os.path.join(asked["work"], "new"))
    for each in missing:
        if each.is_there():
            each.name_folder()
            continue
        target = os.path.join(asked["work"], "new", each.folder)
        try:
            left = unpack_wheel(each.wheel, target, left)
        except (zipfile.BadZipFile, UnicodeError, ValueError, NotImplementedError, EOFError) as error:
            raise Refused("%s: %s" % (os.path.basename(each.wheel), error)) from None
        each.at = target
        os.unlink(each.wheel)
        compile_folder(target, asked["seen_as"] + "/" + each.folder)


def unpack_wheel(wheel, target, left):
    os.mkdir(target)
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            path = place_of(entry.filename)
            if path is None:
                continue
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise ValueError("%s is a symbolic link" % entry.filename)
            to = os.path.join(target, *path)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            is_script = path[0] == "bin" and ".data/scripts/" in entry.filename
            is_executable = is_script or (entry.external_attr >> 16) & 0o111
            # Also where the umask would not have it: instances run as somebody else.
            with archive.open(entry) as source, open(to, "xb") as file:
                first = source.read(9) if is_script else b""
                if first.startswith(b"#!python"):
                    file.write(b"#!/usr/bin/env python3" + (b"\n" if first[8:] == b"\n" else b" "))
                else:
                    file.write(first)
                left -= len(first)
                for piece in iter(lambda: source.read(1 << 16), b""):
                    left -= len(piece)
                    if left < 0:
                        raise ValueError("the packages unpack to too many bytes")
                    file.write(piece)
                os.fchmod(file.fileno(), 0o755 if is_executable else 0o644)
    for parent, _, _ in os.walk(target):
        os.chmod(parent, 0o755)
    return left


def place_of(name):
    """Where a wheel's file goes, as parts of a path; None for what is left out."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise ValueError("the name %r leaves the package's folder" % name[:100])
    if parts[0].endswith(".data") and len(parts) > 2:
        scheme, rest = parts[1], parts[2:]
        if scheme in ("purelib", "platlib", "data"):
            return rest
        if scheme == "scripts":
            return ["bin", *rest]
        if scheme == "headers":
            return None
        raise ValueError("the wheel has files of the unknown kind %r" % scheme[:100])
    return parts


def compile_folder(folder, seen_as):
    files = sum(len(names) for _, _, names in os.walk(folder))
    workers = min(WORKERS_MAX, os.cpu_count() or 1) if files >= MANY_FILES else 1
    compileall.compile_dir(
        folder, quiet=2, force=True, stripdir=folder, prependdir=seen_as, workers=workers,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    shutil.rmtree(os.path.join(folder, "bin", "__pycache__"), ignore_errors=True)


main()
