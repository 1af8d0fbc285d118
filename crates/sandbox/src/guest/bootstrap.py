"""Runs Python functions inside a sandbox and speaks the frame protocol with the node.

Two modes, chosen by the first argument:

`serve`            descriptor 3 is the stream socket of frames: one instance of one function.
`zygote ENTER.SO`  descriptor 3 is a SEQPACKET socket of requests: an interpreter that has imported
                   what functions need, and forks instances on request.

Only the standard library is used, of Python 3.9 and later.
"""

import sys

# What plain `python3 file.py` has loaded before the file runs. A function's own module never
# replaces these; it may replace any other module of the same name, as it would without us.
AT_START = frozenset(sys.modules)

import gc
import importlib
import io
import json
import logging
import os
import socket
import struct
import time
import traceback

import _signal

# Bounds. The node checks sizes that matter to it; these keep a confused peer from filling memory.
FRAME_MAX = 256 << 20
READ_BUFFER = 64 << 10
CHUNK_MAX = 1 << 20
COALESCE_MAX = 64 << 10
BODY_AHEAD_MAX = 1 << 20
SEND_AHEAD_MAX = 256 << 10
HEAD_FLUSH_S = 0.001
SHUTDOWN_S = 2.0
FRAMES_MAX = 200
MESSAGE_MAX = 256 << 10
WALK_MAX = 1 << 20
REQUEST_MAX = 256 << 10
FDS_MAX = 64
REHEARSALS = 32
HEADER_NAMES_MAX = 512

# What nearly every function imports and a fork shares: about 25 MiB once for each zygote, and
# under 50 microseconds more for each fork than a bare interpreter.
SHARED_MODULES = (
    "array", "asyncio", "base64", "binascii", "bisect", "calendar", "collections",
    "concurrent.futures", "contextlib", "contextvars", "copy", "ctypes", "dataclasses", "datetime",
    "decimal", "email", "email.parser", "enum", "errno", "functools", "gzip", "hashlib", "heapq",
    "hmac", "http", "http.client", "http.cookies", "inspect", "io", "ipaddress", "itertools",
    "json", "linecache", "logging", "math", "numbers", "operator", "pathlib", "pickle", "queue",
    "random", "re", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl", "string",
    "struct", "subprocess", "tempfile", "textwrap", "threading", "time", "traceback", "types",
    "typing", "urllib.parse", "urllib.request", "uuid", "warnings", "weakref", "zlib",
)

FRAME_HEAD = struct.Struct("<BI")
U32 = struct.Struct("<I")
I64 = struct.Struct("<q")

BEGIN, INVOKE, DATA, END = b"BIDE"
READY, FAILED, ANSWER, HEAD, START, ERROR = b"RFAHSX"

THIS_FILE = (lambda: 0).__code__.co_filename

loads = json.loads
to_json = json.JSONEncoder(ensure_ascii=False).encode


class Fault(Exception):
    """What the runtime itself finds wrong, with the name that Lambda gives it."""

    def __init__(self, kind, message, trace=()):
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.trace = list(trace)


class Gone(Exception):
    """The node closed its end."""


# ---------------------------------------------------------------------------------------------
# Frames


class Wire:
    """The frame socket. A payload that it gives is valid until the next frame is asked for."""

    __slots__ = ("sock", "base", "buffer", "view", "start", "end")

    def __init__(self, descriptor):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)
        # The flag belongs to the open file and may have been set at the other end of the fork.
        self.sock.setblocking(True)
        self.base = bytearray(READ_BUFFER)
        self._reset()

    def _reset(self):
        self.buffer = self.base
        self.view = memoryview(self.base)
        self.start = self.end = 0

    def take(self):
        """The next frame as (kind, payload) if it has arrived whole, else None."""
        start = self.start
        have = self.end - start
        if have < 5:
            if start:
                self._make_room(READ_BUFFER)
            return None
        kind, size = FRAME_HEAD.unpack_from(self.buffer, start)
        if have < 5 + size:
            if size > FRAME_MAX:
                raise Gone("a frame of %d bytes" % size)
            self._make_room(5 + size)
            return None
        self.start = start = start + 5 + size
        payload = self.view[start - size:start]
        if start == self.end:
            if self.buffer is self.base:
                self.start = self.end = 0
            else:
                self._reset()
        return kind, payload

    def _make_room(self, whole):
        if self.start + whole <= len(self.buffer):
            return
        have = self.end - self.start
        rest = bytes(self.view[self.start:self.end])
        if whole > len(self.buffer):
            self.buffer = bytearray(whole)
            self.view = memoryview(self.buffer)
        self.view[:have] = rest
        self.start, self.end = 0, have

    def fill(self):
        """Reads once. False at the end of the stream."""
        end = self.end
        count = self.sock.recv_into(self.view[end:] if end else self.view)
        self.end = end + count
        return count > 0

    def has_waiting(self):
        """Whether the node has written something already."""
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def next(self):
        """The next frame, waiting for it."""
        while True:
            frame = self.take()
            if frame is not None:
                return frame
            try:
                alive = self.fill()
            except ConnectionError as error:
                raise Gone("the node is gone") from error
            if not alive:
                raise Gone("the node is gone")

    def next_invocation(self):
        """The head and the body of the next invocation."""
        while True:
            kind, payload = self.next()
            if kind == INVOKE:
                return split_invocation(payload)
            # The rest of a body that the last request did not read.
            if kind not in (DATA, END, ERROR):
                raise Gone("an unexpected frame")

    def send(self, data):
        try:
            self.sock.sendall(data)
        except ConnectionError as error:
            raise Gone("the node is gone") from error

    def send_frame(self, kind, payload):
        head = FRAME_HEAD.pack(kind, len(payload))
        if len(payload) <= COALESCE_MAX:
            self.send(head + payload)
            return
        try:
            sent = self.sock.sendmsg((head, payload)) - len(head)
        except ConnectionError as error:
            raise Gone("the node is gone") from error
        if sent < 0:
            self.send(head[sent:] + payload)
        elif sent < len(payload):
            self.send(memoryview(payload)[sent:])


def split_invocation(payload):
    length = U32.unpack_from(payload)[0] + 4
    return loads(str(payload[4:length], "utf-8")), payload[length:]


def json_frame(kind, value):
    # Half of a surrogate pair is no text for the node.
    payload = to_json(value).encode("utf-8", "replace")
    return FRAME_HEAD.pack(kind, len(payload)) + payload


def append_data(out, data):
    """Appends a body's bytes to `out` as frames of a bounded size."""
    if len(data) <= CHUNK_MAX:
        out += FRAME_HEAD.pack(DATA, len(data))
        out += data
        return
    view = memoryview(data)
    for at in range(0, len(data), CHUNK_MAX):
        part = view[at:at + CHUNK_MAX]
        out += FRAME_HEAD.pack(DATA, len(part))
        out += part


END_FRAME = FRAME_HEAD.pack(END, 0)


# ---------------------------------------------------------------------------------------------
# Errors and logs


def flush_output():
    """All that was printed must be in the pipes before the final frame."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # A function may have put anything there.
        pass


def error_shape(kind, message, trace):
    return {"errorType": kind, "errorMessage": message[:MESSAGE_MAX], "stackTrace": trace}


def shape_of(error):
    """An exception in the shape that Lambda gives it, without our own frames."""
    if isinstance(error, Fault):
        return error_shape(error.kind, error.message, error.trace)
    try:
        message = str(error)
    except Exception:
        message = "(its text could not be made)"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != THIS_FILE and not frame.filename.startswith("<frozen importlib")
    ]
    if len(frames) > FRAMES_MAX:
        half = FRAMES_MAX // 2
        trace = traceback.format_list(frames[:half])
        trace.append("  ... %d frames left out ...\n" % (len(frames) - 2 * half))
        trace += traceback.format_list(frames[-half:])
    else:
        trace = traceback.format_list(frames)
    return error_shape(type(error).__name__, message, trace)


def print_error(shape):
    text = "[ERROR] %s: %s\n" % (shape["errorType"], shape["errorMessage"])
    if shape["stackTrace"]:
        text += "Traceback (most recent call last):\n" + "".join(shape["stackTrace"])
    try:
        sys.stderr.write(text if text.endswith("\n") else text + "\n")
    except Exception:
        pass


def report(wire, error, kind=ERROR):
    """Ends an invocation, or the start, with an error."""
    shape = shape_of(error)
    print_error(shape)
    flush_output()
    wire.send(json_frame(kind, shape))


class LogHandler(logging.Handler):
    """The root logger's handler that functions find on Lambda."""

    def __init__(self):
        super().__init__()
        self.request_id = ""
        self.addFilter(self._mark)

    def _mark(self, record):
        record.aws_request_id = self.request_id
        return True

    def emit(self, record):
        try:
            line = self.format(record)
            sys.stdout.write(line if line.endswith("\n") else line + "\n")
        except Exception:
            self.handleError(record)


LOG_HANDLER = LogHandler()
RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON, with Lambda's names."""

    converter = time.gmtime

    def format(self, record):
        plain = isinstance(record.msg, dict) and not record.args
        line = {
            "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
            "level": record.levelname,
            "message": record.msg if plain else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0]:
            kind, error, trace = record.exc_info
            line["stackTrace"] = traceback.format_tb(trace)
            line["errorType"] = kind.__name__
            line["errorMessage"] = str(error)
            line["location"] = "%s:%s:%d" % (record.pathname, record.funcName, record.lineno)
        line["requestId"] = getattr(record, "aws_request_id", "")
        for name, value in vars(record).items():
            if name not in RECORD_FIELDS and name != "aws_request_id" and value is not None:
                line.setdefault(name, value)
        return json.dumps(line, ensure_ascii=False, default=str)


def install_log_handler():
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON":
        formatter = JsonFormatter()
    else:
        formatter = logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s",
            "%Y-%m-%dT%H:%M:%S",
        )
        formatter.converter = time.gmtime
    LOG_HANDLER.setFormatter(formatter)
    root = logging.getLogger()
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = "DEBUG" if level == "TRACE" else level
    if level in ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"):
        root.setLevel(level)
    root.addHandler(LOG_HANDLER)


def remove_log_handler():
    logging.getLogger().removeHandler(LOG_HANDLER)


# ---------------------------------------------------------------------------------------------
# JSON as Lambda's Python runtime writes it


SCALARS = frozenset((str, int, float, bool, type(None)))
CONTAINERS = frozenset((dict, list, tuple))


def needs_walk(value):
    """Whether an answer holds a type that json treats otherwise than Lambda does: it writes named
    tuples as arrays, not as objects."""
    if type(value) is not dict and type(value) is not list:
        return type(value) not in SCALARS
    left = [value]
    while left:
        value = left.pop()
        items = value.values() if type(value) is dict else value
        kinds = set(map(type, items))
        if kinds <= SCALARS:
            continue
        if any(issubclass(kind, tuple) and kind is not tuple for kind in kinds):
            return True
        if len(left) > WALK_MAX:
            return False
        left += [item for item in items if type(item) in CONTAINERS]
    return False


class Encoder:
    """Answers as JSON: decimals as numbers, bytes as text, named tuples as objects."""

    def __init__(self):
        self.marker = None
        self.wide = json.JSONEncoder(ensure_ascii=False, default=self._default)
        self.ascii = json.JSONEncoder(default=self._default)

    def _default(self, value):
        if isinstance(value, bytes):
            return value.decode("utf-8")
        # Named here, not imported: whoever has a Decimal has loaded the module.
        decimal = sys.modules.get("decimal")
        if decimal is not None and isinstance(value, decimal.Decimal):
            if value.is_nan():
                return float("nan")
            if self.marker is None:
                self.marker = os.urandom(12).hex()
            return self.marker + str(value)
        raise TypeError(
            "Object of type %s is not JSON serializable" % type(value).__name__)

    def _plain(self, value):
        kind = type(value)
        if kind is str or kind is int or kind is float or kind is bool or value is None:
            return value
        if isinstance(value, dict):
            return {
                key.decode("utf-8") if isinstance(key, bytes) else key: self._plain(item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            as_dict = getattr(value, "_asdict", None)
            if callable(as_dict):
                return self._plain(as_dict())
            return [self._plain(item) for item in value]
        return value

    def encode(self, value):
        """The bytes of an answer."""
        if type(value) is bytes:
            return value
        try:
            return self._encode(self._plain(value) if needs_walk(value) else value)
        except TypeError:
            # Keys may be bytes, which only the walk turns into text.
            return self._encode(self._plain(value))

    def _encode(self, value):
        self.marker = None
        text = self.wide.encode(value)
        if self.marker is not None:
            text = self._unmark(text)
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError:  # Half of a surrogate pair: only an escape can carry it.
            text = self.ascii.encode(value)
            return (self._unmark(text) if self.marker is not None else text).encode("ascii")

    def _unmark(self, text):
        import re
        return re.sub('"%s([^"]*)"' % self.marker, r"\1", text)


# ---------------------------------------------------------------------------------------------
# What the node says at the beginning


STANDARD_NAMES = getattr(sys, "stdlib_module_names", frozenset(sys.builtin_module_names))
STANDARD_DIR = os.path.dirname(os.__file__) + "/"


def is_standard(name):
    """Whether a top-level module is the standard library's."""
    if name in STANDARD_NAMES or name == "__main__":
        return True
    path = getattr(sys.modules.get(name), "__file__", None) or ""
    return path.startswith(STANDARD_DIR) and "-packages/" not in path


class Setup:
    """The function that this instance runs, as the node described it."""

    def __init__(self, begin):
        self.handler = begin.get("handler")
        self.kind = begin.get("kind")
        self.root = begin.get("root") or "/var/task"
        self.paths = begin.get("paths") or []
        self.name = begin.get("name") or ""
        self.version = str(begin.get("version") or "$LATEST")
        self.memory = str(begin.get("memory_mb") or "")
        self.log_group = begin.get("log_group") or ""
        self.log_stream = begin.get("log_stream") or ""
        self.env = begin.get("env") or {}

    def apply(self, preloaded, base_path):
        """Makes the process the function's: environment, working directory, module path."""
        environ = os.environ
        timezone = environ.get("TZ")
        for name in list(environ):
            del environ[name]
        environ.update(self.env)
        for name, value in (
            ("AWS_LAMBDA_FUNCTION_NAME", self.name),
            ("AWS_LAMBDA_FUNCTION_VERSION", self.version),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.memory),
            ("AWS_LAMBDA_LOG_GROUP_NAME", self.log_group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", self.log_stream),
            ("LAMBDA_TASK_ROOT", self.root),
            ("_HANDLER", self.handler or ""),
        ):
            if name not in environ:
                environ[name] = value
        if environ.get("TZ") != timezone:
            time.tzset()
        try:
            os.chdir(self.root)
        except OSError as error:
            raise Fault("Runtime.InitError", "the code's directory: %s" % error) from error
        more = [path for path in environ.get("PYTHONPATH", "").split(":") if path]
        sys.path[:] = [self.root, *self.paths, *more, *base_path]
        for path in (self.root, *self.paths):
            if sys.path_importer_cache.get(path, self) is None:
                del sys.path_importer_cache[path]
        # What the last of the path hooks gives for a directory; the first would look for a zip.
        try:
            sys.path_importer_cache[self.root] = sys.path_hooks[-1](self.root)
        except (ImportError, IndexError):
            sys.path_importer_cache.pop(self.root, None)
        self._forget_shadowed(preloaded)

    def _forget_shadowed(self, preloaded):
        """Modules that were loaded before the function was known, and are not the ones that it
        would find now, are loaded anew when it asks for them."""
        roots = tuple(path.rstrip("/") + "/" for path in self.paths)
        own = set()
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    name, dot, ending = entry.name.partition(".")
                    if name not in sys.modules or name in AT_START or name == "__main__":
                        continue
                    if ending == "py" or ending.endswith(".so") or (not dot and os.path.exists(
                            os.path.join(entry.path, "__init__.py"))):
                        own.add(name)
        except OSError:
            pass
        wrong = any(
            name in own or not (origin or "").startswith(roots)
            for name, origin in preloaded.items()
        )
        if wrong:
            own.update(preloaded)
        if own:
            for name in [name for name in sys.modules if name.partition(".")[0] in own]:
                del sys.modules[name]


# The place in `sys.modules`, which is in the order of loading, where the function begins.
MARK = "fractus: the function begins"


def modules_from_outside(preloaded, root):
    """Top-level modules that loading the function brought in, neither the standard library's nor
    its own. Of a namespace package the shortest names that have a file.

    Only what came after the mark is looked at: every other object that is touched would cost a
    page that is shared with the zygote."""
    inside = root.rstrip("/") + "/"
    found = set()
    own = []
    for name, module in reversed(sys.modules.items()):
        if name == MARK:
            break
        top = name.partition(".")[0]
        if top in found or is_standard(top):
            continue
        path = getattr(module, "__file__", None)
        if not isinstance(path, str):
            continue
        if path.startswith(inside):
            own.append(module)
            continue
        parent = name
        while True:
            above = parent.rpartition(".")[0]
            if not above or not isinstance(
                    getattr(sys.modules.get(above), "__file__", None), str):
                break
            parent = above
        found.add(parent)
    if preloaded:
        # These were there already: whether the function uses them shows in its modules' names.
        for module in own:
            for value in list(vars(module).values()):
                origin = getattr(value, "__name__" if type(value) is type(sys) else "__module__",
                                 None)
                if isinstance(origin, str):
                    top = origin.partition(".")[0]
                    if top in preloaded:
                        found.add(top)
    return sorted(found)


# ---------------------------------------------------------------------------------------------
# Finding the handler


def import_user(name):
    """Imports a module of the function; what goes wrong gets Lambda's name for it."""
    if name.partition(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict",
                    "Cannot use built-in module %s as a handler module" % name)
    try:
        return importlib.import_module(name.replace("/", "."))
    except ImportError as error:
        trace = shape_of(error)["stackTrace"]
        raise Fault("Runtime.ImportModuleError",
                    "Unable to import module '%s': %s" % (name, error), trace) from error
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        raise Fault("Runtime.UserCodeSyntaxError",
                    "Syntax error in module '%s': %s" % (name, error), trace) from error


def import_file(root, path):
    """Imports the module of a file that is named by its path in the code's directory."""
    path = os.path.normpath(path)
    stem = path[:-3] if path.endswith(".py") else path
    name = stem.replace("/", ".")
    if all(part.isidentifier() for part in name.split(".")):
        return import_user(name)
    name = os.path.basename(stem).replace("-", "_").replace(".", "_")
    import importlib.util
    whole = os.path.join(root, path)
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or not os.path.isfile(whole):
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s'" % path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# Flags of code objects, as `inspect` has them.
CO_VARARGS, CO_VARKEYWORDS, CO_COROUTINE = 0x04, 0x08, 0x80


def parameters(call):
    """Names of the positional parameters, or None if they cannot be told."""
    skip = 0
    if hasattr(call, "__func__"):
        function, skip = call.__func__, 1
    elif hasattr(call, "__code__"):
        function = call
    elif isinstance(call, type):
        function, skip = call.__init__, 1
    else:
        function, skip = type(call).__call__, 1
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & (CO_VARARGS | CO_VARKEYWORDS):
        return None
    return code.co_varnames[skip:code.co_argcount]


def is_async_call(call):
    if type(call) is type(parameters) and not vars(call):
        return bool(call.__code__.co_flags & CO_COROUTINE)
    import inspect
    if inspect.iscoroutinefunction(call):
        return True
    return not isinstance(call, type) and inspect.iscoroutinefunction(
        getattr(call, "__call__", None))


def kind_of(call, default):
    """Tells a Lambda handler, an event function, a WSGI and an ASGI application apart."""
    if hasattr(call, "wsgi_app"):
        return "wsgi"
    names = parameters(call)
    if is_async_call(call):
        return "asgi" if names is None or len(names) == 3 else default
    if names is None:
        return default
    if tuple(names[:2]) == ("event", "context"):
        return "lambda"
    if "start_response" in names:
        return "wsgi"
    if tuple(names) == ("scope",):
        return "asgi"
    if default == "lambda" and len(names) == 1:
        return "event"
    return default


def attribute(module, path):
    value = module
    for part in path.split("."):
        value = getattr(value, part, None)
        if value is None:
            return None
    return value


class Finder:
    """Looks for what the function is when nothing or little was said about it."""

    # Files that are looked at, in this order, each with the names that may be in it and what
    # such a name is if its parameters do not tell.
    WEB = (("app", "wsgi"), ("application", "wsgi"))
    CALLS = (("handler", "lambda"), ("lambda_handler", "lambda"))
    CANDIDATES = (
        ("f.py", (("f", "event"),) + WEB),
        ("lambda_function.py", (("lambda_handler", "lambda"), ("handler", "lambda"))),
        ("app.py", WEB + CALLS),
        ("main.py", WEB + CALLS),
        ("wsgi.py", (("application", "wsgi"), ("app", "wsgi"))),
        ("asgi.py", (("application", "asgi"), ("app", "asgi"))),
        ("handler.py", CALLS),
        ("index.py", CALLS),
    )

    def __init__(self, setup):
        self.setup = setup
        self.looked = []

    def named(self, handler):
        """`module.function`, `dir/module.function` or `module:function`."""
        kind = self.setup.kind
        if ":" in handler:
            module_name, _, path = handler.partition(":")
        else:
            module_name, dot, path = handler.rpartition(".")
            if not dot:
                raise Fault(
                    "Runtime.MalformedHandlerName",
                    "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % handler)
        if not module_name or not path:
            raise Fault("Runtime.MalformedHandlerName", "Bad handler '%s'" % handler)
        if kind in (None, "lambda"):
            install_log_handler()
        module = self._module_of(module_name)
        call = attribute(module, path)
        if call is None:
            raise Fault("Runtime.HandlerNotFound",
                        "Handler '%s' missing on module '%s'" % (path, module_name))
        if kind is None:
            kind = kind_of(call, "lambda")
            if kind != "lambda":
                remove_log_handler()
        return kind, call

    def _module_of(self, name):
        """The module of a handler. `a.B` of the handler `a.B.method` may be a class in `a`."""
        try:
            return import_user(name)
        except Fault as fault:
            cause = fault.__cause__
            above, _, last = name.replace("/", ".").rpartition(".")
            if not above or not isinstance(cause, ModuleNotFoundError):
                raise
            if not (name.replace("/", ".") + ".").startswith((cause.name or "?") + "."):
                raise
            try:
                owner = getattr(self._module_of(above), last, None)
            except Fault:
                owner = None
            if owner is None:
                raise
            return owner

    def find(self):
        env = os.environ
        for variable, kind in (("OL_WSGI_ENTRY", "wsgi"), ("OL_ASGI_ENTRY", "asgi")):
            entry = env.get(variable)
            if entry:
                return self._entry(entry, env.get("OL_ENTRY_FILE") or "f.py", kind)
        entry = env.get("OL_ENTRY_FILE")
        if entry:
            names = (("f", "event"),) + self.WEB + self.CALLS
            found = self._look(entry, names, must=True)
        else:
            found = None
            for file, names in self.CANDIDATES:
                found = self._look(file, names)
                if found:
                    break
            else:
                found = self._django()
        if found:
            return found
        raise Fault("Runtime.HandlerNotFound", "no handler was named, and none found; looked for "
                    + ", ".join(self.looked))

    def _entry(self, entry, file, kind):
        module_name, colon, path = entry.rpartition(":")
        module = import_user(module_name) if colon else import_file(self.setup.root, file)
        call = attribute(module, path)
        if call is None:
            raise Fault("Runtime.HandlerNotFound",
                        "'%s' missing on module '%s'" % (path, module_name or file))
        return kind, call

    def _look(self, file, names, must=False):
        self.looked.append("%s (%s)" % (file, ", ".join(name for name, _ in names)))
        if not must and not os.path.isfile(os.path.join(self.setup.root, file)):
            return None
        wanted = self.setup.kind
        only_lambda = wanted == "lambda" or all(kind == "lambda" for _, kind in names)
        if only_lambda:
            install_log_handler()
        module = import_file(self.setup.root, file)
        for name, default in names:
            call = getattr(module, name, None)
            if not callable(call) or not self._may_be(default):
                continue
            kind = wanted or (default if default == "event" else kind_of(call, default))
            # Files that may hold a web application set up their own logs while they are loaded.
            if kind == "lambda" and not logging.getLogger().handlers:
                install_log_handler()
            return kind, call
        if only_lambda:
            remove_log_handler()
        return None

    def _may_be(self, default):
        wanted = self.setup.kind
        if wanted in ("wsgi", "asgi"):
            return default in ("wsgi", "asgi")
        return wanted != "event" or default == "event"

    def _django(self):
        root = self.setup.root
        self.looked.append("manage.py (a Django project)")
        if not os.path.isfile(os.path.join(root, "manage.py")):
            return None
        for file, kind in (("wsgi", "wsgi"), ("asgi", "asgi")):
            if self.setup.kind not in (None, kind):
                continue
            for name in sorted(os.listdir(root)):
                if name.isidentifier() and os.path.isfile(os.path.join(root, name, file + ".py")):
                    call = getattr(import_user("%s.%s" % (name, file)), "application", None)
                    if call is not None:
                        return kind, call
        return self._django_settings(os.path.join(root, "manage.py"))

    @staticmethod
    def _django_settings(manage):
        import re
        with open(manage, encoding="utf-8", errors="replace") as file:
            text = file.read(MESSAGE_MAX)
        found = re.search(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""", text)
        if not found:
            return None
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", found.group(1))
        return "wsgi", import_user("django.core.wsgi").get_wsgi_application()


def find_handler(setup):
    finder = Finder(setup)
    return finder.named(setup.handler) if setup.handler else finder.find()


# ---------------------------------------------------------------------------------------------
# Lambda handlers and event functions


class Fields:
    """Named values of a part of the context, absent ones None."""

    __slots__ = ()

    def __init__(self, values):
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self):
        return "%s([%s])" % (type(self).__name__, ",".join(
            "%s=%s" % (name, getattr(self, name)) for name in self.__slots__))


class CognitoIdentity(Fields):
    """Who called, if Cognito vouches for it: nobody here."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(Fields):
    """The calling application."""

    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code",
                 "app_package_name")


class ClientContext(Fields):
    """What the caller said about itself."""

    __slots__ = ("custom", "env", "client")

    def __init__(self, values):
        super().__init__(values)
        if isinstance(self.client, dict):
            self.client = Client(self.client)


NO_IDENTITY = CognitoIdentity({})


class LambdaContext:
    """The second argument of a Lambda handler."""

    def __init__(self, setup, head):
        self.aws_request_id = head["id"]
        self.log_group_name = setup.log_group
        self.log_stream_name = setup.log_stream
        self.function_name = setup.name
        self.memory_limit_in_mb = setup.memory
        self.function_version = setup.version
        self.invoked_function_arn = head.get("arn")
        self.tenant_id = None
        client = head.get("client_context")
        self.client_context = ClientContext(client) if isinstance(client, dict) else None
        self.identity = NO_IDENTITY
        self._epoch_deadline_time_in_ms = head["deadline_ms"]

    def get_remaining_time_in_millis(self):
        left = self._epoch_deadline_time_in_ms - int(time.time() * 1000)
        return left if left > 0 else 0

    def log(self, message):
        text = str(message)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def __repr__(self):
        return "LambdaContext([%s])" % ",".join(
            "%s=%s" % item for item in vars(self).items() if item[0][0] != "_")


def unmarshal(body):
    try:
        return loads(str(body, "utf-8"))
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error) from error


def serve_calls(wire, setup, handler, takes_context):
    """Invocations of a function whose event and answer are JSON."""
    encode = Encoder().encode
    environ = os.environ
    traced = None
    while True:
        head, body = wire.next_invocation()
        LOG_HANDLER.request_id = head["id"]
        trace = head.get("trace")
        if trace != traced:
            traced = trace
            if trace is None:
                environ.pop("_X_AMZN_TRACE_ID", None)
            else:
                environ["_X_AMZN_TRACE_ID"] = trace
        try:
            if takes_context:
                answer = handler(unmarshal(body), LambdaContext(setup, head))
            else:
                answer = handler(unmarshal(body) if len(body) else None)
            try:
                data = encode(answer)
            except Exception as error:
                raise Fault("Runtime.MarshalError",
                            "Unable to marshal response: %s" % error) from error
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            report(wire, error)
            continue
        flush_output()
        wire.send_frame(ANSWER, data)
        answer = data = body = None


# ---------------------------------------------------------------------------------------------
# HTTP, what WSGI and ASGI share


def address(text, port):
    """A peer's or our own address as (host, port)."""
    if not text:
        return None
    if isinstance(text, (list, tuple)):
        return str(text[0]), int(text[1])
    host, colon, number = text.rpartition(":")
    if colon and number.isdigit() and (host.endswith("]") or ":" not in host):
        return host.strip("[]"), int(number)
    return text.strip("[]"), port


def path_below(path, root):
    """The part of the path below the root that the application is mounted at."""
    if root and path.startswith(root) and path[len(root):len(root) + 1] in ("", "/"):
        return path[len(root):]
    return path


def unquoted(path):
    if "%" not in path:
        return path.encode("latin-1", "replace")
    from urllib.parse import unquote_to_bytes
    return unquote_to_bytes(path.encode("latin-1", "replace"))


def announced_length(headers):
    """The value of content-length among (name, value) pairs of text, or None."""
    for name, value in headers:
        if len(name) == 14 and name.lower() == "content-length":
            return int(value) if value.isdigit() else None
    return None


# ---------------------------------------------------------------------------------------------
# WSGI


class Body(io.RawIOBase):
    """A request's body while it is still arriving."""

    def __init__(self, wire, first):
        self.wire = wire
        self.rest = memoryview(bytes(first))
        self.ended = False

    def readable(self):
        return True

    def readinto(self, target):
        while not self.rest:
            if self.ended:
                return 0
            kind, payload = self.wire.next()
            if kind == DATA:
                self.rest = payload
            else:
                self.ended = True
                if kind != END:
                    raise OSError("the request's body broke off")
        count = min(len(target), len(self.rest))
        target[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


class WsgiExchange:
    """One request and its answer. Frames are held back as long as it is certain that more
    follows at once, so that a small answer leaves in one write."""

    __slots__ = ("wire", "without_body", "head", "flushed", "out", "expected", "passed")

    def __init__(self, wire, without_body):
        self.wire = wire
        self.without_body = without_body
        self.head = None
        self.flushed = False
        self.out = bytearray()
        self.expected = None
        self.passed = 0

    def start_response(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self.flushed:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
            self.out.clear()
            self.passed = 0
        elif self.head is not None:
            raise AssertionError("start_response was called twice")
        self.head = (int(status.split(None, 1)[0]), [[name, value] for name, value in headers])
        self.expected = announced_length(headers)
        return self.write

    def _append_head(self):
        if self.head is None:
            raise AssertionError("the body began before start_response was called")
        status, headers = self.head
        self.out += json_frame(HEAD, {"status": status, "headers": headers})

    def hold(self, data):
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("a WSGI body is bytes, not %s" % type(data).__name__)
        if not self.flushed and not self.out:
            self._append_head()
        if data and not self.without_body:
            append_data(self.out, data)
        self.passed += len(data)

    def flush(self):
        self.flushed = True
        self.wire.send(self.out)
        self.out.clear()

    def write(self, data):
        """The body's next bytes, which must not wait, unless they are the last ones."""
        self.hold(data)
        if self.expected is None or self.passed < self.expected or len(self.out) > COALESCE_MAX:
            self.flush()

    def run(self, app, environ):
        result = app(environ, self.start_response)
        try:
            if type(result) in (list, tuple):
                for data in result:
                    self.hold(data)
            else:
                for data in result:
                    if data:
                        self.write(data)
            if not self.flushed and not self.out:
                self._append_head()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                try:
                    close()
                except Exception as error:  # The answer is there: this is for the log.
                    print_error(shape_of(error))
        self.out += END_FRAME
        flush_output()
        self.wire.send(self.out)


HEADER_NAMES = {}


def header_variable(name):
    """The CGI variable of a header, or None for names that two different headers could share."""
    if "_" in name:
        return None
    variable = name.upper().replace("-", "_")
    if variable not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        variable = "HTTP_" + variable
    if len(HEADER_NAMES) < HEADER_NAMES_MAX:
        HEADER_NAMES[name] = variable
    return variable


def wsgi_environ(base, http):
    environ = base.copy()
    scheme = http.get("scheme") or "http"
    root = (http.get("root_path") or "").rstrip("/")
    server = address(http.get("host"), 443 if scheme == "https" else 80) or ("localhost", 80)
    client = address(http.get("client"), 0)
    environ["wsgi.url_scheme"] = scheme
    environ["REQUEST_METHOD"] = http["method"]
    environ["SCRIPT_NAME"] = unquoted(root).decode("latin-1")
    environ["PATH_INFO"] = unquoted(path_below(http["path"], root)).decode("latin-1")
    environ["QUERY_STRING"] = http.get("query") or ""
    environ["RAW_URI"] = http["path"] + ("?" + http["query"] if http.get("query") else "")
    environ["SERVER_NAME"] = server[0]
    environ["SERVER_PORT"] = str(server[1])
    if client:
        environ["REMOTE_ADDR"] = client[0]
        environ["REMOTE_PORT"] = str(client[1])
    known = HEADER_NAMES.get
    for name, value in http["headers"]:
        variable = known(name) or header_variable(name)
        if variable is None:
            continue
        if variable in environ:
            value = environ[variable] + ("; " if variable == "HTTP_COOKIE" else ",") + value
        environ[variable] = value
    return environ


def serve_wsgi(wire, app):
    base = {
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "fractus",
    }
    while True:
        head, body = wire.next_invocation()
        LOG_HANDLER.request_id = head["id"]
        try:
            http = head["http"]
            environ = wsgi_environ(base, http)
            environ["wsgi.errors"] = sys.stderr
            if head.get("more"):
                environ["wsgi.input"] = io.BufferedReader(Body(wire, body), READ_BUFFER)
            else:
                environ["wsgi.input"] = io.BytesIO(body)
                if len(body):
                    environ.setdefault("CONTENT_LENGTH", str(len(body)))
            WsgiExchange(wire, http["method"] == "HEAD").run(app, environ)
        except (SystemExit, KeyboardInterrupt, Gone):
            raise
        except BaseException as error:
            report(wire, error)


# ---------------------------------------------------------------------------------------------
# ASGI


class AsgiRequest:
    """One request: what the application receives of it and sends for it."""

    def __init__(self, server, head, body):
        self.server = server
        self.http = head["http"]
        self.without_body = self.http["method"] == "HEAD"
        self.chunks = [bytes(body)] if len(body) else []
        self.waiting = len(body)
        self.ended = not head.get("more")
        self.broken = False
        self.told_end = False
        self.done = False
        self.wakers = []
        self.head = None
        self.out = bytearray()
        self.expected = None
        self.passed = 0
        self.timer = None

    def wake(self):
        wakers, self.wakers = self.wakers, []
        for waker in wakers:
            if not waker.done():
                waker.set_result(None)

    def feed(self, data):
        self.chunks.append(data)
        self.waiting += len(data)
        self.wake()

    async def receive(self):
        while True:
            if self.done or (self.broken and not self.chunks):
                return {"type": "http.disconnect"}
            if self.chunks:
                body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
                self.chunks = []
                self.waiting = 0
                self.server.watch()
                self.told_end = self.ended
                return {"type": "http.request", "body": body, "more_body": not self.ended}
            if self.ended and not self.told_end:
                self.told_end = True
                return {"type": "http.request", "body": b"", "more_body": False}
            waker = self.server.loop.create_future()
            self.wakers.append(waker)
            await waker

    async def send(self, message):
        kind = message["type"]
        if kind == "http.response.start":
            if self.head is not None:
                raise RuntimeError("the answer has begun already")
            headers = [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in message.get("headers", ())
            ]
            self.head = (message["status"], headers)
            self.expected = announced_length(headers)
            self._append_head()
            # Its body usually follows at once; a stream's may take its time.
            self.flush_soon()
            return
        if kind != "http.response.body":
            raise RuntimeError("unknown message %s" % kind)
        if self.head is None or self.done:
            raise RuntimeError("a body before its head, or after its end")
        data = message.get("body", b"")
        if data and not self.without_body:
            append_data(self.out, data)
        self.passed += len(data)
        if not message.get("more_body", False):
            # The end leaves when the application has returned, so that what it prints last is
            # printed before; but not later than in a moment, as it may have work left.
            self.out += END_FRAME
            self.done = True
            self.wake()
            self.flush_soon()
        elif self.expected is None or self.passed < self.expected or len(
                self.out) > COALESCE_MAX:
            if data:
                self.flush()
        else:
            self.flush_soon()
        if self.server.out:
            await self.server.drained()

    def _append_head(self):
        status, headers = self.head
        self.out += json_frame(HEAD, {"status": status, "headers": headers})

    def flush_soon(self):
        if self.timer is None:
            self.timer = self.server.loop.call_later(HEAD_FLUSH_S, self.flush)

    def flush(self):
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.out:
            if self.done:
                flush_output()
            out, self.out = self.out, bytearray()
            self.server.write(out)

    def fail(self, error):
        if self.done:
            print_error(shape_of(error))
            self.flush()
            return
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        shape = shape_of(error)
        print_error(shape)
        flush_output()
        # An answer that nobody has seen yet gives way to the error.
        self.out = bytearray()
        self.done = True
        self.wake()
        self.server.write(json_frame(ERROR, shape))


class AsgiServer:
    """One event loop for the life of the instance; the frame socket is one of its readers."""

    def __init__(self, wire, app, loop):
        self.wire = wire
        self.app = app
        self.loop = loop
        self.out = bytearray()
        self.drainers = []
        self.request = None
        self.tasks = set()
        self.state = {}
        self.reading = False
        self.stopped = loop.create_future()
        self.lifespan_in = None
        self.lifespan_task = None

    # Lifespan

    async def start_lifespan(self):
        import asyncio
        self.lifespan_in = asyncio.Queue()
        started = self.loop.create_future()
        self.lifespan_stopped = self.loop.create_future()

        async def send(message):
            kind = message["type"]
            if kind == "lifespan.startup.complete" and not started.done():
                started.set_result(None)
            elif kind == "lifespan.startup.failed" and not started.done():
                started.set_result(message.get("message") or "the application failed to start")
            elif kind.startswith("lifespan.shutdown") and not self.lifespan_stopped.done():
                self.lifespan_stopped.set_result(None)

        async def run():
            try:
                scope = {
                    "type": "lifespan",
                    "asgi": {"version": "3.0", "spec_version": "2.0"},
                    "state": self.state,
                }
                await self.app(scope, self.lifespan_in.get, send)
            except Exception as error:
                # An application that does not know lifespans raises at once, which is no failure.
                if started.done():
                    print_error(shape_of(error))
            finally:
                for future in (started, self.lifespan_stopped):
                    if not future.done():
                        future.set_result(None)

        self.lifespan_in.put_nowait({"type": "lifespan.startup"})
        self.lifespan_task = self.loop.create_task(run())
        failure = await started
        if failure is not None:
            raise Fault("Runtime.LifespanStartupFailed", failure)

    async def stop_lifespan(self):
        import asyncio
        if self.lifespan_task is None or self.lifespan_task.done():
            return
        self.lifespan_in.put_nowait({"type": "lifespan.shutdown"})
        try:
            await asyncio.wait_for(self.lifespan_stopped, SHUTDOWN_S)
        except asyncio.TimeoutError:
            pass

    # Output

    def write(self, data):
        """Sends what the socket takes; the rest follows when it can."""
        if self.out:
            self.out += data
            return
        try:
            sent = self.wire.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.stop()
            return
        if sent < len(data):
            self.out += memoryview(data)[sent:]
            self.loop.add_writer(self.wire.sock, self.writable)

    def writable(self):
        try:
            with memoryview(self.out) as view:
                sent = self.wire.sock.send(view)
            del self.out[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.out.clear()
            self.stop()
        if len(self.out) <= SEND_AHEAD_MAX:
            drainers, self.drainers = self.drainers, []
            for drainer in drainers:
                if not drainer.done():
                    drainer.set_result(None)
        if not self.out:
            self.loop.remove_writer(self.wire.sock)

    async def drained(self):
        while len(self.out) > SEND_AHEAD_MAX and not self.stopped.done():
            drainer = self.loop.create_future()
            self.drainers.append(drainer)
            await drainer

    # Input

    def watch(self):
        """Reads on, unless the application is behind with the body."""
        wanted = self.request is None or self.request.waiting <= BODY_AHEAD_MAX
        if wanted and not self.reading:
            self.reading = True
            self.loop.add_reader(self.wire.sock, self.readable)
        elif not wanted and self.reading:
            self.reading = False
            self.loop.remove_reader(self.wire.sock)

    def readable(self):
        try:
            if not self.wire.fill():
                self.stop()
                return
            while True:
                frame = self.wire.take()
                if frame is None:
                    break
                self.frame(*frame)
        except BlockingIOError:
            return
        except (OSError, Gone):
            self.stop()
            return
        request = self.request
        if request is not None and request.waiting > BODY_AHEAD_MAX:
            self.watch()

    def frame(self, kind, payload):
        request = self.request
        if kind == INVOKE:
            head, body = split_invocation(payload)
            LOG_HANDLER.request_id = head["id"]
            self.request = request = AsgiRequest(self, head, body)
            task = self.loop.create_task(self.run(request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif request is None or request.done or request.ended:
            return
        elif kind == DATA:
            request.feed(bytes(payload))
        elif kind == END:
            request.ended = True
            request.wake()
        else:
            request.ended = request.told_end = request.broken = True
            request.wake()

    def stop(self):
        if not self.stopped.done():
            self.stopped.set_result(None)
        if self.reading:
            self.reading = False
            self.loop.remove_reader(self.wire.sock)

    # Requests

    def scope(self, http):
        scheme = http.get("scheme") or "http"
        root = (http.get("root_path") or "").rstrip("/")
        path = root + path_below(http["path"], root)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": http["method"],
            "scheme": scheme,
            "path": unquoted(path).decode("utf-8", "replace"),
            "raw_path": path.encode("latin-1", "replace"),
            "query_string": (http.get("query") or "").encode("latin-1", "replace"),
            "root_path": unquoted(root).decode("utf-8", "replace"),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
                for name, value in http["headers"]
            ],
            "client": address(http.get("client"), 0),
            "server": address(http.get("host"), 443 if scheme == "https" else 80),
            "state": self.state.copy(),
            "extensions": {},
        }

    async def run(self, request):
        try:
            await self.app(self.scope(request.http), request.receive, request.send)
            if not request.done:
                raise RuntimeError("the application returned before its answer was complete")
            request.flush()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            request.fail(error)

    async def serve(self, ready):
        await self.start_lifespan()
        flush_output()
        self.write(ready())
        self.watch()
        await self.stopped
        await self.stop_lifespan()


def asgi_callable(app):
    """The application as one callable of three arguments, though it may be of ASGI 2."""
    if is_async_call(app) or parameters(app) is None or len(parameters(app)) != 1:
        return app

    async def single(scope, receive, send):
        await app(scope)(receive, send)

    return single


def serve_asgi(wire, app, ready):
    import asyncio
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # The application may have asked for the loop while it was imported.
            loop = asyncio.get_event_loop()
        except RuntimeError:
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
    wire.sock.setblocking(False)
    try:
        loop.run_until_complete(AsgiServer(wire, asgi_callable(app), loop).serve(ready))
    except BaseException:
        wire.sock.setblocking(True)
        raise
    raise Gone("the node is gone")


# ---------------------------------------------------------------------------------------------
# The two modes


def prepare_streams():
    """What is printed reaches the pipe with its line, and no text can fail to be printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        except (AttributeError, ValueError, OSError):
            pass


def warm_up():
    """Touches what the first call will touch. Every page that is shared with the zygote is copied
    when it is first written to, if only to count a reference: better now, while this instance
    waits for its function, than when a request waits for it."""
    try:
        # A small module of the standard library that hardly any function uses.
        importlib.import_module("colorsys")
        del sys.modules["colorsys"]
        kind_of(warm_up, "lambda")
        install_log_handler()
        remove_log_handler()
        Encoder().encode(loads('{"a": [1, "b", null, 1.5]}'))
        os.environ["FRACTUS"] = "1"
        del os.environ["FRACTUS"]
        time.tzset()
        json_frame(READY, {"kind": "", "modules": []})
        LambdaContext(Setup({}), {"id": "", "deadline_ms": 0}).get_remaining_time_in_millis()
        flush_output()
    except Exception:  # Nothing depends on it.
        pass


def rehearse():
    """In a zygote: runs what every instance will run, until the interpreter has specialised it. A
    child that did so itself would copy the pages of all that code."""
    for _ in range(REHEARSALS):
        warm_up()
    ours, theirs = socket.socketpair()
    try:
        head = to_json({"id": "", "deadline_ms": 0, "trace": None}).encode("ascii")
        call = FRAME_HEAD.pack(INVOKE, 4 + len(head) + 2) + U32.pack(len(head)) + head + b"{}"
        ours.sendall(call * REHEARSALS)
        ours.shutdown(socket.SHUT_WR)
        serve_calls(Wire(theirs.detach()), Setup({}), lambda event, context: event, True)
    except Gone:
        pass
    finally:
        ours.close()


def serve(descriptor, preloaded, base_path, is_warm=False):
    """Runs one instance until the node closes the socket."""
    sys.dont_write_bytecode = True
    sys.argv = ["bootstrap"]
    # Whoever starts a fresh interpreter (multiprocessing does) must not run this file again.
    sys.modules["__main__"].__dict__.pop("__file__", None)
    wire = Wire(descriptor)
    if not is_warm and not wire.has_waiting():
        warm_up()
    kind, payload = wire.next()
    if kind != BEGIN:
        raise Gone("the first frame does not begin")
    try:
        setup = Setup(loads(str(payload, "utf-8")))
        setup.apply(preloaded, base_path)
        sys.modules[MARK] = None
        kind, handler = find_handler(setup)
        modules = modules_from_outside(preloaded, setup.root)
        sys.modules.pop(MARK, None)

        def ready():
            return json_frame(READY, {"kind": kind, "modules": modules})

        if kind == "asgi":
            serve_asgi(wire, handler, ready)
    except (SystemExit, KeyboardInterrupt, Gone):
        raise
    except BaseException as error:
        report(wire, error, FAILED)
        # Threads that the module began are not waited for.
        os._exit(1)
    flush_output()
    wire.send(ready())
    if kind == "wsgi":
        serve_wsgi(wire, handler)
    else:
        serve_calls(wire, setup, handler, kind == "lambda")
    return 0


class Zygote:
    """Forks instances. Everything that it does in the kernel is a plan that the node wrote."""

    def __init__(self, descriptor, library):
        import ctypes
        self.ctypes = ctypes
        run = ctypes.PyDLL(library).fractus_run
        run.restype = ctypes.c_int64
        run.argtypes = (
            ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int64), ctypes.c_size_t)
        self.run_plan = run
        self.control = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=descriptor)
        self.control.setblocking(True)
        self.base_path = [path for path in sys.path if path]
        self.preloaded = {}
        self.roots = ()
        self.buffer = bytearray(REQUEST_MAX)

    def run(self):
        """True in a child that shall serve, False when the node is gone."""
        import array
        for name in SHARED_MODULES:
            try:
                importlib.import_module(name)
            except Exception:  # Not every build of Python has every module.
                pass
        _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        gc.disable()
        try:
            # OpenSSL's generator is made here: its first use costs a child a millisecond.
            sys.modules["ssl"].RAND_bytes(1)
        except Exception:  # There may be none.
            pass
        rehearse()
        self._settle()
        self.control.send(b"R{}")
        room = socket.CMSG_SPACE(FDS_MAX * 4)
        while True:
            try:
                size, ancillary, flags, _ = self.control.recvmsg_into(
                    [self.buffer], room, socket.MSG_CMSG_CLOEXEC)
            except ConnectionError:
                return False
            fds = array.array("i")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(data[:len(data) - len(data) % 4])
            if not size:
                return False
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise Gone("a request that is too long")
            if self._request(memoryview(self.buffer)[:size], fds):
                return True

    def _request(self, message, fds):
        kind = message[0]
        if kind in b"KQ":
            # One that is waited for has no time to stand by.
            return self._fork(message[1:], fds, is_spare=kind == ord("K"))
        if kind == ord("G"):
            # The child is a zygote itself, over the socket that is its descriptor 3 now.
            if self._fork(message[1:], fds):
                self._become_zygote()
            return False
        try:
            if kind != ord("Z"):
                raise Gone("an unknown request")
            self.control.send(b"Z" + self._import(loads(bytes(message[1:]))))
        finally:
            for fd in fds:
                os.close(fd)
        return False

    @staticmethod
    def _settle():
        gc.collect()
        gc.freeze()

    def _import(self, request):
        paths = request.get("paths", ())
        sys.path.extend(path for path in paths if path not in sys.path)
        self.roots += tuple(path.rstrip("/") + "/" for path in paths)
        importlib.invalidate_caches()
        before = frozenset(sys.modules)
        imported, failed = [], {}
        for name in request.get("modules", ()):
            try:
                importlib.import_module(name)
                imported.append(name)
            except BaseException as error:  # A module may even call exit.
                failed[name] = "%s: %s" % (type(error).__name__, str(error)[:200])
        for name in sys.modules.keys() - before:
            top = name.partition(".")[0]
            if not is_standard(top):
                module = sys.modules[top] if top in sys.modules else sys.modules[name]
                origin = origin_of(module)
                # What lies elsewhere is the interpreter's own, such as `_sysconfigdata_…`.
                if (origin or "").startswith(self.roots):
                    self.preloaded[top] = origin
        self._settle()
        answer = json.dumps({"imported": imported, "failed": failed}).encode("ascii")
        return answer[:REQUEST_MAX // 2]

    def _fork(self, message, fds, is_spare=False):
        plans = []
        at = 0
        while at < len(message):
            length = U32.unpack_from(message, at)[0]
            at += 4 + length
            plans.append(bytes(message[at - length:at]))
        numbers = (self.ctypes.c_int64 * max(len(fds), 1))(*fds)

        def run(plan):
            return self.run_plan(plan, len(plan), numbers, len(fds))

        result = run(plans[0])
        if result >= 0:
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                result = os.fork()
            except OSError as error:
                result = -(0xFFFF << 16 | (error.errno or 1))
            if result == 0:
                self._become_child(run(plans[1]))
                if is_spare:
                    warm_up()
                if len(plans) > 3:
                    # It stands by here until it gets a function.
                    self._succeeded(run(plans[3]))
                return True
        restored = run(plans[2])
        if restored < 0 and result > 0:
            os.kill(result, _signal.SIGKILL)
            result = restored
        for fd in fds:
            os.close(fd)
        self.control.send(b"K" + I64.pack(result))
        if restored < 0:
            raise Gone("the zygote could not return to its namespaces")
        return False

    def _become_zygote(self):
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=3)
        self.control.setblocking(True)
        self.buffer = bytearray(REQUEST_MAX)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        gc.disable()
        self.control.send(b"R{}")

    @staticmethod
    def _succeeded(result):
        if result < 0:
            index, number = divmod(-result, 1 << 16)
            os.write(2, b"the sandbox failed at step %d: errno %d\n" % (index, number))
            os._exit(127)

    def _become_child(self, result):
        """What a forked interpreter must not share with its siblings."""
        self._succeeded(result)
        # Descriptor 3 is the frame socket now: the old object must not close it.
        self.control.detach()
        self.buffer = None
        # The module below `signal`: its enumerations would cost a dozen shared pages.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        # `random` reseeds itself after a fork. OpenSSL tells a fork by the pid, which may be 1
        # in the zygote's namespace as well as in the child's.
        loaded = sys.modules.get
        if loaded("ssl") is not None:
            loaded("ssl").RAND_add(os.urandom(32), 32.0)
        if loaded("numpy.random") is not None:
            loaded("numpy.random").seed()
        if loaded("tempfile") is not None:
            loaded("tempfile")._name_sequence = None
            loaded("tempfile").tempdir = None
        if loaded("uuid") is not None:
            loaded("uuid")._last_timestamp = None
            loaded("uuid")._node = None
        gc.enable()


def origin_of(module):
    """Where a module was found, as a path below the directory on the module path."""
    path = getattr(module, "__file__", None)
    if isinstance(path, str):
        return path
    for path in getattr(module, "__path__", ()):
        return path + "/"
    return None


def main():
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    # The directory of this file is no place to find modules in.
    here = os.path.dirname(os.path.abspath(sys.argv[0]))
    sys.path[:] = [path for path in sys.path if path and path != here]
    try:
        if mode == "serve":
            prepare_streams()
            return serve(3, {}, list(sys.path))
        if mode == "zygote":
            prepare_streams()
            zygote = Zygote(3, sys.argv[2])
            if zygote.run():
                return serve(3, zygote.preloaded, zygote.base_path, True)
            return 0
    except Gone:
        # Nobody is left to answer to: threads and exit hooks of the function are not waited for.
        flush_output()
        os._exit(0)
    sys.stderr.write("usage: bootstrap.py serve | zygote ENTER.SO\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
