"""The Databricks bundle as a target deploys it, its variables filled in."""

import re

from submitted import ROOT, read_yaml

FOLDER = ROOT / "conf/databricks"
WORKSPACE = {"workspace.file_path": str(ROOT), "workspace.host": "https://workspace.example.com"}
WITHOUT_DEFAULT = {
    "ledger": "s3://bucket/ledger",
    "instance_profile": "arn:aws:iam::1:instance-profile/gristmill",
    "service_principal": "00000000-0000-0000-0000-000000000000",
}


class Bundle:
    """databricks.yml, seen from one of its targets."""

    def __init__(self, target):
        self.files = read_yaml(FOLDER / "databricks.yml")
        declared = self.files["variables"]
        defaults = {name: it["default"] for name, it in declared.items() if "default" in it}
        own = self.files["targets"][target].get("variables", {})
        given = defaults | WITHOUT_DEFAULT | own
        assert given.keys() == declared.keys()
        self.values = WORKSPACE | {f"var.{name}": value for name, value in given.items()}

    def jobs(self):
        """Return each job by its key, as the workspace gets it."""
        (pattern,) = self.files["include"]
        return {
            key: self.filled(job)
            for path in sorted(FOLDER.glob(pattern))
            for key, job in read_yaml(path)["resources"]["jobs"].items()
        }

    def filled(self, value):
        """Fill in `${...}`; a name that nobody declared is a KeyError."""
        if isinstance(value, dict):
            return {key: self.filled(it) for key, it in value.items()}
        if isinstance(value, list):
            return [self.filled(it) for it in value]
        if not isinstance(value, str):
            return value
        if whole := re.fullmatch(r"\$\{([\w.]+)\}", value):
            return self.filled(self.values[whole[1]])
        return re.sub(r"\$\{([\w.]+)\}", lambda it: self.filled(self.values[it[1]]), value)
