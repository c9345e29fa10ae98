"""A whole onboarding, as Qlik's own Python sample goes about it."""

import json
import unittest

from sandbox import Case, on, tenant, zipped


class Onboarding(Case):
    def test_a_customer_is_onboarded(self):
        about, qlik = tenant("uk")
        alias = f"p{about.hostnames[0]}"
        self.assertEqual(self.names(qlik.users.get_me().assignedRoles), ["TenantAdmin"])
        qlik.tenants.get_me().patch([
            {"op": "replace", "path": "/name", "value": "Harbour Logistics"},
            {"op": "replace", "path": "/hostnames/1", "value": alias},
        ])
        qlik.licenses.set_settings({"autoAssignProfessional": False, "autoAssignAnalyzer": False})
        qlik.groups.patch_settings([{"op": "replace", "path": "/autoCreateGroups", "value": True}])
        # The SDK of 2023 refuses what spaces say they allow today: its sample of those days would stop here.
        staging = qlik.auth.rest(path="/spaces", method="POST", data={"name": "Staging", "type": "shared"}).json()
        live = qlik.auth.rest(path="/spaces", method="POST", data={"name": "Production", "type": "managed"}).json()
        for name, roles in {"hb-viewers": ["consumer"], "hb-planners": ["consumer", "contributor"]}.items():
            group = qlik.groups.create({"name": name, "status": "active"})
            assignment = {"type": "group", "assigneeId": group.id, "roles": roles}
            qlik.auth.rest(path=f"/spaces/{live['id']}/assignments", method="POST", data=assignment)
        files = {"hb.qext": json.dumps({"name": "Harbour", "type": "theme", "version": "1.0"}), "theme.json": "{}"}
        qlik.auth.rest(path="/themes", method="POST", files={"file": ("hb.zip", zipped(files), "application/zip")})
        query = {"name": "Fleet overview", "spaceId": staging["id"]}
        imported = qlik.auth.rest(path="/apps/import", method="POST", data=b'{"name":"Fleet"}', params=query).json()
        path = f"/apps/{imported['attributes']['id']}/publish"
        published = qlik.auth.rest(path=path, method="POST", data={"spaceId": live["id"]}).json()

        # Seen from outside, by the alias.
        seen = on(alias)
        self.assertEqual(seen.tenants.get_me().name, "Harbour Logistics")
        self.assertEqual(self.names(seen.auth.rest(path="/spaces").json()["data"]), ["Production", "Staging"])
        self.assertEqual(len(seen.auth.rest(path=f"/spaces/{live['id']}/assignments").json()["data"]), 2)
        items = seen.items.get_items(resourceType="app", spaceId=live["id"])
        self.assertEqual([(item.name, item.resourceId) for item in items], [("Fleet overview", published["attributes"]["id"])])


if __name__ == "__main__":
    unittest.main()
