"""MongoDB replica sets: facts, gather, assess, decide, act."""

import sys

# pymongo would import cryptography (40 ms of every action) on its way to pyOpenSSL, where it is installed, and use that
# in place of the standard library's TLS. It takes a module that is None for one that is not there.
sys.modules.setdefault("pymongo.pyopenssl_context", None)  # type: ignore[arg-type]
