"""pika's connection, with faster receiving and sending of messages.

pika spends most of its time on decoding and encoding properties, and on cutting small pieces off a
long buffer. Here properties stay bytes, complete deliveries go from the buffer to their consumer,
and all data written in one turn of the loop is sent together. Everything else is left to pika. Only
this module overrides private methods of pika (1.4).
"""

from __future__ import annotations

import asyncio
import functools
import struct
from collections.abc import Sequence
from typing import Any, Final

from pika import channel, frame, spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowAborted
from pika.exceptions import StreamLostError

from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.core.masked_repr import MaskedStruct

_RECEIVE_BYTES: Final = 2**17  # a call; pika's 4 KiB are a system call for five messages
_END: Final = b"\xce"
_FRAME: Final = struct.Struct(">BHI")  # type, channel, size
_METHOD: Final = struct.Struct(">BHII")  # the same and the method
_CONTENT: Final = struct.Struct(">BHIHHQ")  # the same and class, weight, body size
_DELIVERED: Final = struct.Struct(">Q?")
_DELIVER: Final = spec.Basic.Deliver.INDEX
_BASIC: Final = spec.BasicProperties.INDEX


class Delivered(MaskedStruct, frozen=True, gc=False):
    """The needed part of pika's `Basic.Deliver`, which this class replaces."""

    delivery_tag: int
    redelivered: bool
    address: bytes
    """Exchange and routing key, each after its length."""

    @property
    def exchange(self) -> str:
        """The exchange that the message was published to."""
        return self.address[1 : 1 + self.address[0]].decode("utf-8", "replace")

    @property
    def routing_key(self) -> str:
        """The routing key that the message was published with."""
        key = 1 + self.address[0]
        return self.address[key + 1 : key + 1 + self.address[key]].decode("utf-8", "replace")


class _Channel(channel.Channel):
    """A channel that still delivers messages while its consumer is being cancelled.

    pika would reject such messages one by one, which counts against a delivery limit; here the
    callers get and hold them.
    """

    def _on_deliver(self, method_frame: Any, header_frame: Any, body: bytes) -> None:
        consumer = self._consumers.get(method_frame.method.consumer_tag)
        if consumer is not None:
            consumer(self, method_frame.method, header_frame.properties, body)


class RawConnection(AsyncioConnection):
    """A connection that receives and sends message properties as raw bytes."""

    _frame_buffer: bytes  # what has come of a frame that is not complete

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._turn: list[bytes] = []
        self.loss: BaseException = ConnectionError()
        """Why it is closed, once it is."""
        super().__init__(*args, **kwargs)
        self.add_on_close_callback(self._keep_loss)

    def _on_connection_workflow_done(self, result: Any) -> None:
        # When we gave the attempt up, pika 1.4 passes the class instead of an instance, and
        # then trips over it; nobody is waiting for that attempt any more.
        if result is not AMQPConnectionWorkflowAborted:
            super()._on_connection_workflow_done(result)

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = _RECEIVE_BYTES  # noqa: SLF001
        super()._proto_connection_made(transport)

    def _create_channel(self, channel_number: int, on_open_callback: Any) -> channel.Channel:
        return _Channel(self, channel_number, on_open_callback)

    def _keep_loss(self, _connection: object, reason: BaseException) -> None:
        self.loss = reason

    def abort(self) -> None:
        """Close the socket at once, without closing the connection in AMQP."""
        self._terminate_stream(StreamLostError("cut by ourselves"))

    # --- in -------------------------------------------------------------------------

    def _on_data_available(self, data_in: bytes) -> None:
        buffer = self._frame_buffer + data_in if self._frame_buffer else data_in
        self.bytes_received += len(data_in)
        at, size = 0, len(buffer)
        while at < size:
            end = self._deliver(buffer, at, size) or self._pass_on(buffer, at, size)
            if not end:
                break
            at = end
        self._frame_buffer = buffer[at:]

    def _deliver(self, buffer: bytes, at: int, size: int) -> int:
        """Pass a message to its consumer if it has arrived completely; return the offset of its
        end.

        Handles a method, a header and at most one body frame; pika handles longer messages.
        """
        if size < at + _METHOD.size:
            return 0
        length: int
        kind, number, length, method = _METHOD.unpack_from(buffer, at)
        header = at + 8 + length
        if kind != spec.FRAME_METHOD or method != _DELIVER or size < header + _CONTENT.size:
            return 0
        _, _, length, _, _, body_size = _CONTENT.unpack_from(buffer, header)
        body = header + 8 + length
        end = body + 8 + body_size if body_size else body
        if size < end or (body_size and _FRAME.unpack_from(buffer, body)[2] != body_size):
            return 0
        tag = at + _METHOD.size + 1
        tag_end = tag + buffer[tag - 1]
        raw = self._channels.get(number)
        consumer = raw and raw._consumers.get(buffer[tag:tag_end].decode())  # noqa: SLF001
        if consumer is None or buffer[end - 1] != spec.FRAME_END:
            return 0
        self.frames_received += 3
        properties = RawProperties(buffer[header + _CONTENT.size : body - 1])
        address = buffer[tag_end + _DELIVERED.size : header - 1]
        delivery, redelivered = _DELIVERED.unpack_from(buffer, tag_end)
        delivered = Delivered(delivery, redelivered, address)
        consumer(raw, delivered, properties, buffer[body + 7 : end - 1] if body_size else b"")
        return end

    def _pass_on(self, buffer: bytes, at: int, size: int) -> int:
        """Hand the frame at *at* to pika, and return where it ends; 0 if it is not complete."""
        if size < at + _FRAME.size:
            return 0
        length: int
        kind, number, length = _FRAME.unpack_from(buffer, at)
        end = at + 8 + length
        if buffer.startswith(b"AMQP", at):  # it speaks another version
            end = at + 8
        elif size < end:
            return 0
        if kind == spec.FRAME_HEADER:
            *_, body_size = _CONTENT.unpack_from(buffer, at)
            properties = RawProperties(buffer[at + _CONTENT.size : end - 1])
            value = frame.Header(number, body_size, properties)
        else:
            _, value = frame.decode_frame(buffer[at:end])
        self._process_frame(value)
        return end

    # --- out ------------------------------------------------------------------------

    def publish(
        self,
        number: int,
        exchange: str,
        routing_key: str,
        properties: bytes,
        body: bytes,
        *,
        mandatory: bool,
    ) -> None:
        """Publish a message on the open channel of this *number*; a *mandatory* one comes back when
        no queue takes it."""
        self._turned(
            _publish_frame(number, exchange, routing_key, mandatory),
            _CONTENT.pack(spec.FRAME_HEADER, number, 12 + len(properties), _BASIC, 0, len(body)),
            properties,
            _END,
        )
        for at in range(0, len(body), self._body_max_length):
            part = body[at : at + self._body_max_length]
            self._turned(_FRAME.pack(spec.FRAME_BODY, number, len(part)), part, _END)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        self._turned(*marshaled_frames)

    def _turned(self, *parts: bytes) -> None:
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._turn += parts

    def _end_turn(self) -> None:
        written, self._turn = b"".join(self._turn), []
        if not self.is_closed:
            super()._output_marshaled_frames([written])


@functools.lru_cache(maxsize=1024)
def _publish_frame(number: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001
    method = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return bytes(frame.Method(number, method).marshal())
