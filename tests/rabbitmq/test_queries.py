"""The document's code, and its limits, on a real broker with the document's exchanges."""

from __future__ import annotations

import pytest

from tests.support import Raw
from tests.unit.test_queries import DocumentBlocks, DocumentLimits
from tests.vhosts import Vhost


class OnRabbitMQ:
    @pytest.fixture
    def document_dsn(self, vhost: Vhost, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setenv("BROKER_TYPE", "rabbitmq")
        monkeypatch.setenv("BROKER_MANAGEMENT_URL", vhost.management_url)
        raw.channel.exchange_declare("taskworker.tasks", "topic", durable=True)
        return vhost.dsn


class TestDocumentBlocksOnRabbitMQ(OnRabbitMQ, DocumentBlocks):
    pass


class TestDocumentLimitsOnRabbitMQ(OnRabbitMQ, DocumentLimits):
    pass
