"""A real S3-compatible server on loopback, which can be told to refuse requests."""

from dataclasses import dataclass, field
from threading import Thread
from uuid import uuid4

import boto3
from deltalake import DeltaTable, write_deltalake
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SECRET = "canary-of-a-store"
EXPIRED = ("400 Bad Request", "ExpiredToken", "The provided token has expired.")
DENIED = ("403 Forbidden", "AccessDenied", "Access Denied")
_BODY = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"
_OF_DELTALAKE = {"allow_http": "true", "conditional_put": "etag"}


@dataclass
class ObjectStore:
    """A server with one bucket; `refuse` is (status, code, message), `refused` whom it meets."""

    bucket: str = field(default_factory=lambda: f"bucket-{uuid4().hex[:8]}")
    refuse: tuple[str, str, str] | None = None
    refused: object = staticmethod(lambda method, path: True)
    requests: list = field(default_factory=list)

    def __enter__(self):
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._server.log_startup = False
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.client.create_bucket(Bucket=self.bucket)
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self):
        """What users set, and all that they set."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.port}",
        }

    @property
    def client(self):
        given = self.environment
        return boto3.client(
            "s3",
            endpoint_url=given["AWS_ENDPOINT_URL"],
            region_name=given["AWS_REGION"],
            aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        )

    def names(self, prefix=""):
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return [it["Key"] for it in found]

    def write(self, table, rows, **options):
        """Write a Delta table with a writer that is not Spark."""
        given = self.environment | _OF_DELTALAKE
        write_deltalake(f"s3://{self.bucket}/{table}", rows, storage_options=given, **options)

    def read(self, table):
        """Return a Delta table's rows with a reader that is not Spark."""
        uri, given = f"s3://{self.bucket}/{table}", self.environment | _OF_DELTALAKE
        return DeltaTable(uri, storage_options=given).to_pyarrow_table().to_pylist()

    def _answer(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        if self.refuse is not None and self.refused(method, path):
            status, code, message = self.refuse
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(status, [("Content-Type", "application/xml")])
            return [_BODY.format(code, message).encode()]
        return self._moto(environ, start_response)
