"""What servers that stand in for the Hugging Face hub have in common."""

import json
from http.server import BaseHTTPRequestHandler


class HubHandler(BaseHTTPRequestHandler):
    """Answers with bytes, or with what JSON says; `X_Error_Code=` becomes the header X-Error-Code."""

    def answer(self, status, content=None, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *_):
        pass
