"""Every resource that the SDK knows and the sandbox simulates."""

import io
import json
import tempfile
import unittest

from qlik_sdk.apis.Spaces import Space
from qlik_sdk.listable import ListableResource
from qlik_sdk.rest import AuthenticationException
from sandbox import Auth, Case, config, on, tenant, zipped

NOBODY = "0" * 24
PEM = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkq\n-----END PUBLIC KEY-----"


class Resources(Case):
    @classmethod
    def setUpClass(cls):
        cls.about, cls.qlik = tenant()

    def raw(self, method, path, **named):
        return self.qlik.auth.rest(path=path, method=method, **named)

    def test_who_is_there(self):
        self.assertEqual(self.qlik.users.get_me().name, "EU OAuth Client")
        with self.assertRaises(AuthenticationException):
            Auth(config(self.about.hostnames[0], client_secret="wrong")).authorize()

    def test_tenants(self):
        about, qlik = tenant("us")
        mine = qlik.tenants.get_me()
        self.assertEqual(mine.id, about.id)
        mine.patch([{"op": "replace", "path": "/name", "value": "Harbour"}])
        self.assertEqual(qlik.tenants.get(about.id).name, "Harbour")
        self.refused(400, mine.patch, [{"op": "replace", "path": "/region", "value": "eu"}])
        self.assertEqual(self.refused(404, qlik.tenants.get, "nobody")["code"], "TENANTS-8")
        register = on("register.us.qlikcloud.com")
        self.assertEqual(self.refused(403, register.tenants.create, {"licenseKey": "wrong"})["code"], "TENANTS-23")
        there = register.tenants.get(about.id)
        self.refused(412, there.deactivate, "another.us.qlikcloud.com", {"purgeAfterDays": 10})
        self.assertEqual(there.deactivate(about.hostnames[0], {"purgeAfterDays": 10}).status, "disabled")
        with self.assertRaises(AuthenticationException):
            qlik.tenants.get_me()
        there.reactivate(about.hostnames[0])
        self.assertEqual(qlik.tenants.get_me().status, "active")

    def test_users_page_by_page(self):
        _, qlik = tenant()
        for number in range(250):
            qlik.users.create({"subject": f"hb|{number}", "name": f"User {number:03}", "status": "active"})
        first = qlik.users.get_users(limit=20)
        self.assertEqual(len(first), 20)
        # The SDK follows the links with a `limit` of its own.
        listed = [user.id for user in first.pagination]
        self.assertEqual((len(listed), len(set(listed))), (251, 251))

    def test_users(self):
        users = self.qlik.users
        # The SDK lists active users unless it is told otherwise.
        ada = users.create({"subject": "hb|ada", "name": "Ada", "email": "ada@harbour.example", "status": "active"})
        users.create({"subject": "hb|bea", "name": "Bea"})
        self.assertEqual(self.names(users.get_users(status="invited")), ["Bea"])
        self.assertEqual(users.get(ada.id).subject, "hb|ada")
        found = users.get_users(filter='subject eq "hb|ada"')
        self.assertEqual(self.names(found), ["Ada"])
        self.assertEqual(self.names(users.filter({"filter": 'email eq "ADA@harbour.example"'})), ["Ada"])
        ada.patch([{"op": "replace", "path": "/name", "value": "Ada L."}])
        self.assertEqual(users.get(ada.id).name, "Ada L.")
        self.assertEqual(self.refused(409, users.create, {"subject": "hb|ada"})["code"], "USERS-7")
        self.refused(400, users.get_users, filter="shoe eq 3")
        self.refused(404, users.get, NOBODY)
        ada.delete()
        self.refused(404, users.get, ada.id)
        self.assertGreaterEqual(users.count().total, 1)

    def test_groups(self):
        groups = self.qlik.groups
        made = [groups.create({"name": f"g{number:02}", "status": "active"}) for number in range(25)]
        listed = groups.get_groups(limit=10)
        self.assertEqual((len(listed), len(list(listed.pagination))), (10, 25))
        made[0].patch([{"op": "replace", "path": "assignedRoles", "value": [{"name": "Steward"}]}])
        self.assertEqual(self.names(groups.get(made[0].id).assignedRoles), ["Steward"])
        self.assertEqual(self.names(groups.filter({"filter": 'name eq "g07"'})), ["g07"])
        groups.patch_settings([{"op": "replace", "path": "/autoCreateGroups", "value": True}])
        self.assertTrue(groups.get_settings().autoCreateGroups)
        self.refused(409, groups.create, {"name": "g01", "status": "active"})
        made[0].delete()
        self.refused(404, groups.get, made[0].id)

    def test_roles(self):
        roles = self.qlik.roles
        self.assertIn("TenantAdmin", self.names(roles.get_roles(limit=5).pagination))
        made = self.raw("POST", "/roles", data={"name": "Planner", "assignedScopes": ["spaces.shared:create"]}).json()
        self.assertEqual(roles.get(made["id"]).name, "Planner")
        self.raw("DELETE", f"/roles/{made['id']}")
        self.refused(404, roles.get, made["id"])

    def space(self, name):
        return self.raw("POST", "/spaces", data={"name": name, "type": "shared"}).json()["id"]

    def pages(self, path, **query):
        """Raw things in the SDK's own pager, where its types refuse what Qlik has added since."""
        answer = self.raw("GET", path, params=query).json()
        return ListableResource(response=answer, auth=self.qlik.auth, path=path, query_params=query)

    def test_spaces_and_assignments(self):
        # The SDK does not know that a space may change its owner.
        def create(name, kind="managed"):
            return self.raw("POST", "/spaces", data={"name": name, "type": kind}).json()

        made = [create(f"Space {number:02}") for number in range(12)]
        listed = self.pages("/spaces", type="managed")
        self.assertEqual((len(listed), len(list(listed.pagination))), (10, 12))
        self.assertIn("managed", [kind.value for kind in self.qlik.spaces.get_types().data])
        path = f"/spaces/{made[0]['id']}"
        step = {"op": "replace", "path": "/description", "value": "first"}
        self.assertEqual(self.raw("PATCH", path, data=[step]).json()["description"], "first")
        self.assertEqual(self.raw("PUT", path, data={"name": "Front"}).json()["name"], "Front")
        # Without the fields it does not know, it takes a space.
        space = Space(**{"id": made[0]["id"]})
        space.auth = self.qlik.auth
        group = self.qlik.groups.create({"name": "readers", "status": "active"})
        given = {"type": "group", "assigneeId": group.id, "roles": ["consumer"]}
        assignment = space.create_assignment(given)
        self.assertEqual(self.refused(409, space.create_assignment, given)["code"], "AssignmentConflict")
        changed = space.set_assignment(assignment.id, {"roles": ["consumer", "contributor"]})
        self.assertEqual([role.value for role in changed.roles], ["consumer", "contributor"])
        self.refused(400, space.set_assignment, assignment.id, {"roles": ["producer"]})
        self.assertEqual([one.assigneeId for one in space.get_assignments().pagination], [group.id])
        space.delete_assignment(assignment.id)
        self.refused(404, space.get_assignment, assignment.id)
        self.refused(409, create, "Front", "shared")
        self.refused(400, create, "a/b", "shared")
        space.delete()
        self.refused(404, self.qlik.spaces.get, space.id)

    def test_licences(self):
        licences, subject = self.qlik.licenses, f"{self.about.id}|1"
        told = licences.add_assignments({"add": [{"subject": subject, "type": "analyzer"}, {"subject": "x", "type": "golden"}]})
        self.assertEqual([line.status for line in told.data], [201, 400])
        seats = licences.get_assignments(filter=f'subject eq "{subject}"')
        self.assertEqual([seat.subject for seat in seats], [subject])
        gone = licences.delete_assignments({"delete": [{"subject": subject, "type": "analyzer"}]})
        self.assertEqual([line.status for line in gone.data], [200])
        settings = licences.set_settings({"autoAssignProfessional": False, "autoAssignAnalyzer": False})
        self.assertFalse(settings.autoAssignAnalyzer)
        self.assertEqual(licences.get_status().status, "Ok")
        self.assertTrue(licences.get_overview().allotments)

    def test_identity_providers(self):
        providers = self.qlik.identity_providers
        options = {"jwtLoginEnabled": True, "issuer": "https://id.halyard.example", "staticKeys": [{"kid": "a", "pem": PEM}]}
        given = {"provider": "external", "protocol": "jwtAuth", "interactive": False, "options": options}
        made = self.raw("POST", "/identity-providers", data=given).json()
        self.assertEqual(len(list(self.pages("/identity-providers", limit=1).pagination)), 2)
        step = {"op": "replace", "path": "/description", "value": "the portal"}
        self.raw("PATCH", f"/identity-providers/{made['id']}", data=[step])
        self.assertEqual(self.raw("GET", f"/identity-providers/{made['id']}").json()["description"], "the portal")
        self.refused(400, self.raw, "POST", "/identity-providers", data=given)
        self.assertEqual(providers.get_status().active_interactive_idps_count, 1)
        self.raw("DELETE", f"/identity-providers/{made['id']}")
        self.refused(404, providers.get, made["id"])

    def test_web_integrations(self):
        integrations = self.qlik.web_integrations
        made = [
            integrations.create({"name": f"w{number:02}", "validOrigins": ["https://portal.harbour.example"]})
            for number in range(12)
        ]
        listed = integrations.get_web_integrations()
        self.assertEqual((len(listed), len(list(listed.pagination))), (10, 12))
        one = integrations.get(made[0].id)
        one.patch([{"op": "replace", "path": "/name", "value": "portal"}])
        self.assertEqual(integrations.get(one.id).name, "portal")
        self.refused(400, integrations.create, {"name": "x", "validOrigins": ["*"]})
        one.delete()
        self.refused(404, integrations.get, one.id)

    def test_csp_origins(self):
        origins = self.qlik.csp_origins
        made = origins.create({"name": "tiles", "origin": "tiles.harbour.example", "imgSrc": True})
        self.assertEqual(self.names(origins.get_csp_origins(imgSrc=True).pagination), ["tiles"])
        self.assertTrue(made.set({"name": "tiles", "origin": "tiles.harbour.example", "connectSrc": True}).connectSrc)
        # The SDK has no name for a field with hyphens.
        header = origins.generate_header().__dict__
        self.assertIn("tiles.harbour.example", json.dumps({key: str(value) for key, value in header.items()}))
        self.refused(400, origins.create, {"name": "none"})
        made.delete()
        self.refused(404, origins.get, made.id)

    def test_themes(self):
        themes = self.qlik.themes
        files = {"hb.qext": json.dumps({"name": "Harbour", "type": "theme", "version": "1.0"}), "theme.json": "{}"}
        with tempfile.NamedTemporaryFile(suffix=".zip") as file:
            file.write(zipped(files).read())
            file.flush()
            with open(file.name, "rb") as bundle:
                made = themes.create(data={"tags": ["hb"]}, file=bundle)
            with open(file.name, "rb") as bundle:
                self.refused(409, themes.create, file=bundle)
        self.assertEqual((made.name, made.tags), ("Harbour", ["hb"]))
        self.assertEqual(self.names(self.raw("GET", "/themes").json()["data"]), ["Harbour"])
        self.assertEqual(self.raw("GET", "/themes/hb/file/theme.json").text, "{}")
        themes.get(made.id).delete()
        self.refused(410, themes.get, made.id)

    def test_extensions(self):
        extensions = self.qlik.extensions
        about = {"name": "Route map", "type": "visualization", "version": "2.0"}
        bundle = zipped({"route-map.qext": json.dumps(about), "route-map.js": "define()"})
        made = self.raw("POST", "/extensions", files={"file": ("route-map.zip", bundle, "application/zip")}).json()
        self.assertEqual(extensions.get(made["id"]).name, "Route map")
        self.raw("DELETE", f"/extensions/{made['id']}")
        self.refused(410, extensions.get, made["id"])

    def test_brands(self):
        brands = self.qlik.brands
        png = ("l.png", b"\x89PNG\r\n\x1a\nlogo", "image/png")
        for name in "abcdefg":
            made = self.raw("POST", "/brands", files={"name": (None, name), "logo": png}).json()
        # Its own name for the parameter is not the published one, so it sees the first page only.
        self.assertEqual(len(brands.get_brands(limit=5)), 5)
        self.assertTrue(brands.activate(made["id"]).active)
        self.assertEqual(brands.get(made["id"]).name, "g")
        brands.deactivate(made["id"])
        brands.delete(made["id"])
        self.refused(404, brands.get, made["id"])

    def test_apps_and_items(self):
        space = Space(id=self.space("Apps"))
        space.auth = self.qlik.auth
        made = [
            self.raw("POST", "/apps/import", data=b'{"description":"v1"}', params={"name": f"App {number:02}", "spaceId": space.id})
            for number in range(12)
        ]
        app = made[0].json()["attributes"]
        listed = self.qlik.items.get_items(resourceType="app", spaceId=space.id)
        self.assertEqual((len(listed), len(list(listed.pagination))), (10, 12))
        self.assertEqual(self.qlik.items.get(listed[0].id).resourceType.value, "app")
        info = self.raw("PUT", f"/apps/{app['id']}", data={"attributes": {"description": "v2"}}).json()
        self.assertEqual(info["attributes"]["description"], "v2")
        self.assertEqual(self.raw("GET", f"/apps/{app['id']}").json()["attributes"]["name"], "App 00")
        self.refused(412, space.delete)
        self.raw("DELETE", f"/apps/{app['id']}")
        self.refused(404, self.raw, "GET", f"/apps/{app['id']}")

    def test_data_files(self):
        files, space = self.qlik.data_files, self.space("Files")
        connection = files.get_connections(spaceId=space)[0]
        self.assertEqual((connection.spaceId, files.get_connection(connection.id).name), (space, "DataFiles"))

        def upload(send, text, **about):
            # It looks into the file before it sends it.
            return send(File=io.BufferedReader(io.BytesIO(text)), connectionId=connection.id, **about)

        made = [upload(files.create, b"a,b\n", name=f"rates/{number:02}.csv") for number in range(12)]
        self.assertEqual((made[0].size, made[0].folderPath), (4, "rates"))
        # Its pager knows no `page`, so it sees the first one only.
        listed = files.get_data_files(connectionId=connection.id, limit=5, sort="-name")
        self.assertEqual((self.names(listed)[-1], len(listed), len(list(listed.pagination))), ("rates/11.csv", 5, 5))
        self.assertEqual(self.names(files.get_data_files(connectionId=connection.id, name="rates/03.csv")), ["rates/03.csv"])
        self.assertEqual(self.refused(409, upload, files.create, b"x", name="rates/00.csv")["code"], "HTTP-409")
        self.refused(400, upload, files.create, b"x", name="run.exe")
        one = files.get(made[0].id)
        self.assertEqual((upload(one.set, b"longer\n").size, one.spaceId), (7, space))
        # Without a connection a file goes to the personal space.
        one.set(File=io.BufferedReader(io.BytesIO(b"mine")), name="mine.csv")
        self.assertEqual(self.names(files.get_data_files()), ["mine.csv"])
        self.assertGreaterEqual(files.get_quotas().size, 4)
        one.delete()
        self.refused(404, files.get, one.id)
        told = files.delete({"delete": [{"id": made[1].id}, {"id": "0c8e7a44-0000-4000-8000-00000000fe17"}]})
        self.assertEqual([line.status for line in told.data], [204, 404])

    def test_data_connections(self):
        # The SDK has no class for them.
        path, space = "/data-connections", self.space("Connections")
        properties = {"host": "db.harbour.example", "password": "quay-side"}

        def connect(name):
            given = {"qName": name, "datasourceID": "postgres", "space": space, "connectionProperties": properties}
            return self.raw("POST", path, data=given).json()

        made = [connect(name) for name in ["Orders", "Rates", "Ships"]]
        listed = self.raw("GET", path, params={"spaceId": space, "sort": "+qName"}).json()["data"]
        self.assertEqual([held["qName"] for held in listed], ["Orders", "Rates", "Ships"])
        self.assertEqual(len(self.raw("GET", path, params={"spaceId": space, "limit": 2}).json()["data"]), 2)
        self.refused(409, connect, "Orders")
        one = f"{path}/{made[0]['qID']}"
        self.raw("PATCH", one, data=[{"op": "replace", "path": "/connectionProperties/host", "value": "db2"}])
        told = self.raw("GET", one, params={"parseConnection": "true"}).json()
        self.assertEqual(told["connectionProperties"], {"host": "db2"})
        self.assertNotIn("quay-side", json.dumps([made, listed, told]))
        self.raw("DELETE", one)
        self.refused(404, self.raw, "GET", one)

    def test_tasks(self):
        # The SDK knows neither the tasks that took the place of reload tasks, nor their version of the API.
        def raw(method, path, **named):
            return self.raw(method, f"{self.qlik.config.host}/api/scheduling/tasks{path}", **named)

        app = self.raw("POST", "/apps", data={"attributes": {"name": "Scheduled"}}).json()["attributes"]["id"]
        call = {"refName": "app.reload", "arguments": {"appId": app, "partial": False}}
        event = {"eventRefs": ["time-schedule"], "actions": [{"name": "app-reload", "functionRef": call}]}
        states = [{"name": "reload", "type": "EVENT", "end": True, "onEvents": [event]}]
        start = {"schedule": {"recurrence": "RRULE:FREQ=DAILY;BYHOUR=6;BYMINUTE=0;BYSECOND=0"}}
        given = {"specVersion": "1.16.0", "states": states, "start": start}
        made = [raw("POST", "", data=given | {"name": name}).json() for name in ["daily", "nightly", "weekly"]]
        self.assertEqual((made[0]["enabled"], made[0]["resourceId"]), (False, app))
        page = raw("GET", "", params={"resourceId": app, "limit": 2}).json()
        self.assertEqual((len(page["data"]), bool(page["links"]["next"]["href"])), (2, True))
        one = f"/{made[0]['id']}"
        enabled = raw("PATCH", one, data=[{"op": "replace", "path": "/enabled", "value": True}]).json()
        self.assertTrue(enabled["enabled"])
        self.assertEqual(self.names(raw("GET", "", params={"filter": "enabled eq true"}).json()["data"]), ["daily"])
        self.refused(404, raw, "GET", f"{one}/runs/last")
        raw("POST", f"{one}/actions/start")
        self.assertEqual(raw("GET", f"{one}/runs/last").json()["triggeredBy"], "manual")
        self.assertEqual(len(raw("GET", f"{one}/runs").json()["data"]), 1)
        self.refused(400, raw, "POST", "", data={"name": "empty", "specVersion": "1.16.0"})
        raw("DELETE", one)
        self.refused(404, raw, "GET", one)

    def test_automations(self):
        automations, workspace = self.qlik.automations, {"blocks": [], "variables": []}
        for number in range(12):
            automations.create({"name": f"a{number:02}", "workspace": workspace})
        # Its pager knows no `cursor`, so it sees the first page only.
        listed = automations.get_automations(limit=5)
        self.assertEqual((len(listed), len(list(listed.pagination))), (5, 5))
        one = automations.get(listed[0].id)
        self.assertEqual(one.set({"name": "greet", "workspace": workspace}).name, "greet")
        self.assertEqual(self.names(automations.get_automations(filter='name eq "greet"')), ["greet"])
        run = one.create_run({"context": "api"})
        self.assertIn(run.id, [held.id for held in one.get_runs()])
        one.disable()
        self.assertEqual(automations.get(one.id).state, "disabled")
        self.refused(400, one.create_run, {"context": "api"})
        one.delete()
        self.refused(404, automations.get, one.id)


if __name__ == "__main__":
    unittest.main()
