"""uvicorn's protocol with a limit on what comes before a request's body; it has none of its own.

Without it a client that sends header after header, or one that never ends, makes the process hold all of it.
"""

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024
"""The request line and all headers together, as good as: what comes in one piece is looked at as a whole."""


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 to a request whose head is longer than `HEAD_BYTES_MAX`, and hangs up."""

    _in_head = True
    _head_bytes = 0
    _header_bytes = 0
    _refused = False

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that isn't complete."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse()

    def on_message_begin(self) -> None:
        """A new head."""
        self._in_head, self._head_bytes, self._header_bytes = True, 0, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after the body."""
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > HEAD_BYTES_MAX:
            self._refuse()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The whole head is there: a short one goes on to the application."""
        self._in_head = False
        if len(self.url) + self._header_bytes > HEAD_BYTES_MAX:
            self._refuse()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """The body of a request that was taken."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request that was taken."""
        if not self._refused:
            super().on_message_complete()

    def _refuse(self) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        body = json.dumps(
            {
                "type": "/problems/limit_exceeded",
                "title": "The headers are too long",
                "status": 431,
                "detail": f"address and headers of a request may have {HEAD_BYTES_MAX:,} bytes; these have more",
                "code": "limit_exceeded",
            }
        ).encode()
        head = (
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
