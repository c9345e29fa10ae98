"""Random requests from the contract: no error of the server, no answer that breaks its schema, no hang.

    SANDBOX=.. python properties.py [REQUESTS] [SEED]

Each operation gets the same number of requests; one that says it is not simulated (501) is left alone after the first.
Half of the requests that name a thing name one that is there.
"""

import collections
import gzip
import json
import pathlib
import random
import sys
import time
import tomllib
import warnings

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Unsatisfiable
from sandbox import SANDBOX, tenant
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup

CONTRACT = pathlib.Path(__file__).parents[3] / "contract"
SECONDS = 10
# The published schema of the answer wants what the request has wished away, or calls text and number the same thing.
LOOSE = {"inviteUsers"}


# What is there from the beginning, so that there is something to read and to change.
THINGS = [
    ("/spaces", {"name": "Staging", "type": "shared"}),
    ("/spaces", {"name": "Production", "type": "managed"}),
    ("/users", {"subject": "hb|ada", "name": "Ada", "email": "ada@harbour.example", "status": "active"}),
    ("/groups", {"name": "hb-viewers", "status": "active"}),
    ("/groups", {"name": "hb-board", "status": "active", "providerType": "custom"}),
    ("/roles", {"name": "Planner", "assignedScopes": []}),
    ("/apps", {"attributes": {"name": "Fleet"}}),
    ("/web-integrations", {"name": "portal", "validOrigins": ["https://portal.harbour.example"]}),
    ("/csp-origins", {"name": "tiles", "origin": "tiles.harbour.example", "imgSrc": True}),
]


class Driver:
    def __init__(self, wanted, start):
        self.about, qlik = tenant()
        self.base = f"{SANDBOX['url']}/{self.about.hostnames[0]}"
        self.headers = {"authorization": f"Bearer {qlik.auth.config.api_key}"}
        self.session = requests.Session()
        self.wanted, self.random, self.start = wanted, random.Random(start), start
        self.statuses, self.broken, self.absent = collections.Counter(), {}, set()
        self.ids = collections.defaultdict(list)
        self.slowest = (0.0, "")
        for path, body in THINGS:
            made = qlik.auth.rest(path=path, method="POST", data=body).json()
            self.ids[f"/api/v1{path}"].append(made.get("attributes", made)["id"])

    @property
    def sent(self):
        return sum(self.statuses.values())

    def fill(self, case):
        """Names things that are there, by what the path says before the variable."""
        path = case.operation.path
        for variable in case.path_parameters or {}:
            known = self.ids[path.split("{" + variable + "}")[0].rstrip("/")]
            if known and self.random.random() < 0.5:
                case.path_parameters[variable] = self.random.choice(known)

    def note(self, case, body):
        """Remembers the things that an answer tells of."""
        data = body.get("data", body) if isinstance(body, dict) else body
        for one in data if isinstance(data, list) else [data]:
            held = one.get("attributes", one) if isinstance(one, dict) else {}
            if isinstance(held, dict) and isinstance(held.get("id"), str) and held["id"]:
                known = self.ids[case.operation.path]
                known.append(held["id"])
                del known[:-50]

    def breach(self, case, reason):
        name = case.operation.definition.raw.get("operationId")
        self.broken.setdefault((name, reason.splitlines()[0][:160]), f"{case.as_curl_command(headers={})}\n{reason}")

    def send(self, case):
        name = case.operation.definition.raw.get("operationId")
        self.fill(case)
        began = time.monotonic()
        try:
            answer = case.call(base_url=self.base, headers=self.headers, timeout=SECONDS, session=self.session)
        except requests.RequestException as error:
            self.statuses["none"] += 1
            return self.breach(case, f"no answer: {type(error).__name__}")
        self.slowest = max(self.slowest, (time.monotonic() - began, name))
        self.statuses[answer.status_code] += 1
        if answer.status_code == 501:
            if name not in answer.text:
                self.breach(case, f"501 does not name the operation: {answer.text[:200]}")
            self.absent.add(name)
            return None
        if answer.status_code >= 500:
            return self.breach(case, f"{answer.status_code}: {answer.text[:300]}")
        is_json = "json" in answer.headers.get("content-type", [""])[0]
        if answer.status_code < 300 and is_json:
            self.note(case, answer.json())
        if name in LOOSE or "fields" in (case.query or {}):
            return None
        try:
            case.validate_response(answer, checks=[CHECKS.get_one("response_schema_conformance")])
        except (FailureGroup, AssertionError) as failure:
            held = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
            for one in held:
                self.breach(case, f"{answer.status_code}: {getattr(one, 'validation_message', one)}\n{answer.text[:600]}")
        return None

    def drive(self, operation, examples, mode=GenerationMode.POSITIVE):
        @seed(self.start)
        @settings(
            max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet,
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case):
            if self.sent < self.wanted and operation.definition.raw.get("operationId") not in self.absent:
                self.send(case)

        try:
            one()
        except Unsatisfiable:
            pass  # Nothing can be wrong with a request that takes nothing.

    def run(self, schema):
        operations = [found.ok() for found in schema.get_all_operations()]
        # Of what belongs to other hosts nothing is there; what makes things comes before what needs them.
        operations = [one for one in operations if one.definition.raw.get("operationId") not in OTHERS]
        order = {"POST": 0, "GET": 1, "PUT": 2, "PATCH": 3, "DELETE": 4}
        operations.sort(key=lambda one: (order.get(one.method.upper(), 1), one.path))
        for operation in operations:
            self.drive(operation, 1)
        alive = [one for one in operations if one.definition.raw.get("operationId") not in self.absent]
        idle = 0
        while alive and self.sent < self.wanted:
            self.start += 1
            before, share = self.sent, max(1, min(10, (self.wanted - self.sent) // len(alive) + 1))
            mode = GenerationMode.NEGATIVE if self.start % 3 == 0 else GenerationMode.POSITIVE
            for operation in alive:
                self.drive(operation, share, mode)
            idle = idle + 1 if self.sent == before else 0
            if idle == 3:
                break


OTHERS = {"createTenant", "deactivateTenant", "reactivateTenant", "listOrganizationTenants"}


# Pieces of an upload are bytes like others.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


def contract():
    """The published contract, with the types as Qlik's other pages amend them."""
    published = json.loads(gzip.decompress((CONTRACT / "openapi.json.gz").read_bytes()))
    amendments = tomllib.loads((CONTRACT / "amendments.toml").read_text())
    merge(published["components"]["schemas"], amendments["schemas"])
    return published


def merge(held, more):
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(held.get(name), dict):
            merge(held[name], value)
        else:
            held[name] = value


def main():
    warnings.simplefilter("ignore")
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    start = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    driver, began = Driver(wanted, start), time.monotonic()
    driver.run(schemathesis.openapi.from_dict(contract()))
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(driver.statuses.items(), key=str))
    print(f"{driver.sent} requests in {time.monotonic() - began:.0f} s, seed {start}: {statuses}")
    print(f"slowest answer {driver.slowest[0] * 1000:.0f} ms ({driver.slowest[1]}); {len(driver.absent)} operations not simulated")
    for (name, reason), told in driver.broken.items():
        print(f"\n{name}: {reason}\n{told}", file=sys.stderr)
    if driver.broken or driver.sent < wanted:
        sys.exit(f"{len(driver.broken)} breaches")


if __name__ == "__main__":
    main()
