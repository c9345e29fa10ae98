"""The SDK, pointed at the sandbox that `tests/clients/run` has started, and what the tests share."""

import io
import json
import os
import unittest
import zipfile

import requests
from qlik_sdk import Auth, AuthType, Config, Qlik

SANDBOX = json.loads(os.environ["SANDBOX"])


def config(host, **change):
    """A host of the sandbox, with the credentials that `tenantry sandbox --json` printed."""
    held = {"client_id": SANDBOX["client_id"], "client_secret": SANDBOX["client_secret"]} | change
    return Config(host=f"{SANDBOX['url']}/{host}", auth_type=AuthType.OAuth2, **held)


def on(host):
    """The SDK for one host of the sandbox, signed in."""
    qlik = Qlik(config(host))
    qlik.auth.authorize()
    return qlik


def tenant(region="eu"):
    """A new tenant: what its creation answered, and the SDK for it."""
    register = on(f"register.{region}.qlikcloud.com")
    about = register.tenants.create({"licenseKey": SANDBOX["license_key"]})
    return about, on(about.hostnames[0])


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writer:
        for path, content in files.items():
            writer.writestr(path, content)
    packed.seek(0)
    packed.name = "bundle.zip"
    return packed


class Case(unittest.TestCase):
    def names(self, things):
        return sorted(thing["name"] if isinstance(thing, dict) else thing.name for thing in things)

    def refused(self, status, call, *arguments, **named):
        """Fails unless a call is refused with this status, in a form the SDK passes on. Gives the first error."""
        with self.assertRaises(requests.exceptions.HTTPError) as held:
            call(*arguments, **named)
        answer = held.exception.response
        self.assertEqual(answer.status_code, status, answer.text)
        body = answer.json()
        return body["errors"][0] if "errors" in body else body


__all__ = ["Auth", "Case", "SANDBOX", "config", "on", "tenant", "zipped"]
