"""The public names, what an import costs, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pyzdb


def run(source: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_package_has_its_public_names_and_nothing_else() -> None:
    assert pyzdb.__all__ == ["File", "PyzdbError", "__version__", "client", "register"]
    assert set(pyzdb.__all__) <= set(dir(pyzdb))
    names = "import pyzdb; print(*sorted(n for n in vars(pyzdb) if not n.startswith('_')))"
    modules = {"errors", "paths", "values"}
    own = {"File", "PyzdbError", "register"}
    assert set(run(names).split()) == own | modules | {"TYPE_CHECKING"}


def test_the_public_names_are_those_of_their_modules() -> None:
    from pyzdb import errors, values

    assert (pyzdb.File, pyzdb.register) == (values.File, values.register)
    assert pyzdb.PyzdbError is errors.PyzdbError
    assert pyzdb.client is sys.modules["pyzdb.client"]
    with pytest.raises(AttributeError, match="'pyzdb' has no attribute 'clients'"):
        pyzdb.clients  # type: ignore[attr-defined] # noqa: B018


def test_zeromq_is_loaded_with_the_client_and_not_before() -> None:
    names = "import sys, pyzdb; from pyzdb import File, PyzdbError, register; "
    assert run(names + "print('zmq' in sys.modules)") == "False\n"
    assert run(names + "pyzdb.client; print('zmq' in sys.modules)") == "True\n"


@pytest.mark.parametrize("before", ["", "import pyzdb.client; ", "import pyzdb; pyzdb.client; "])
def test_the_client_of_the_package_can_be_called_whatever_was_imported(before: str) -> None:
    called = f"{before}from pyzdb import client; print(client(timeout=2)[1].timeout)"
    assert run(called) == "2\n"
    assert run(f"{before}import pyzdb; print(pyzdb.client()[1])").startswith("<open connection")


def test_applications_begin_with_client() -> None:
    assert run("from pyzdb.client import client; print(client.__name__)") == "client\n"
    both = "import pyzdb.client; from pyzdb import client; print(client is pyzdb.client)"
    assert run(both) == "True\n"


def test_the_module_of_the_client_can_be_called_as_its_function() -> None:
    called = "from pyzdb import client; db, connection = client(); print(repr(db['x']), connection)"
    assert run(called) == "db['x'] <open connection to tcp://localhost:5559>\n"


def test_a_client_does_not_load_what_only_a_server_needs() -> None:
    loaded = run("import sys, pyzdb.client; print(*sys.modules)").split()
    assert "zmq" in loaded
    for name in ("pyzdb.server", "pyzdb.storage", "pyzdb.cli", "undoable", "portalocker"):
        assert name not in loaded
    assert "prompt_toolkit" not in loaded


def test_what_is_below_the_server_and_the_client_does_without_zeromq() -> None:
    assert "zmq" not in run("import sys, pyzdb.engine.database; print(*sys.modules)").split()


def test_the_version_is_a_release() -> None:
    assert all(part.isdigit() for part in pyzdb.__version__.split("."))
