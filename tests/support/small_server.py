"""A model server that is up at once: `small_server.py PORT TOKEN HOLD`.

It answers with the first word of the prompt, as soon as there is no file HOLD. GET /stats tells how
many questions are in flight.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, TOKEN, HOLD = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
in_flight = threading.Semaphore(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/stats":
            self.answer(200, in_flight._value)
        else:
            self.answer(200 if self.authorized() else 401, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.authorized():
            self.answer(401, {})
            return
        in_flight.release()
        while HOLD.exists():
            time.sleep(0.02)
        in_flight.acquire()
        text = body["messages"][0]["content"].split()[0]
        message = {"role": "assistant", "content": text}
        self.answer(200, {"choices": [{"message": message, "finish_reason": "stop"}]})

    def authorized(self):
        return self.headers["Authorization"] == f"Bearer {TOKEN}"

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
