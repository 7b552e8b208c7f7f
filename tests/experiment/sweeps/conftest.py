"""What tests of sweeps share: databases that do not wait for the disk, as no test pulls the plug."""

import pytest
from sqlalchemy import Engine, event


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk():
    def hurry(connection, _):
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)
