"""What libvirt tells of all machines if one goes while it is asked; by its own test driver."""

from collections.abc import Iterator

import libvirt
import pytest

from growdisk.live.libvirt_domain import definitions, known_machines

URI = "test:///default"
MACHINE = """
<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>
"""
POOL = """
<pool type='dir'><name>{name}</name><target><path>/images/{name}</path></target></pool>
"""


@pytest.fixture
def machines() -> Iterator[list[libvirt.virDomain]]:
    """Four of them that are defined and off, as libvirt lists them; two pools beside its own."""
    connection = libvirt.open(URI)
    for name in ("red", "green", "blue", "grey"):
        connection.defineXML(MACHINE.format(name=name))
    pools = [
        connection.storagePoolCreateXML(POOL.format(name=name)) for name in ("pool-1", "pool-2")
    ]
    yield [domain for domain in connection.listAllDomains() if domain.name() != "test"]
    for pool in pools:
        if pool.name() in [known.name() for known in connection.listAllStoragePools()]:
            pool.destroy()
    for domain in connection.listAllDomains():
        if domain.name() != "test":
            domain.undefine()
    connection.close()


def test_a_machine_that_goes_meanwhile_hides_no_other(machines: list[libvirt.virDomain]) -> None:
    listed = definitions(URI)
    first, _ = next(listed)
    going = next(domain for domain in machines if domain.name() not in first)
    staying = {domain.name() for domain in machines} - {going.name()}
    going.undefine()
    texts = [first, *(text for text, _ in listed)]
    for name in staying:
        assert any(f"<name>{name}</name>" in text for text in texts), name
    for path in ("/images/pool-1", "/images/pool-2"):
        assert any(path in text for text in texts), path
    assert staying < {machine.name for machine in known_machines(URI)}


def test_a_pool_that_goes_meanwhile_hides_no_other(machines: list[libvirt.virDomain]) -> None:
    listed = definitions(URI)
    assert any(text.startswith("<pool") for text, _ in listed)
    connection = libvirt.open(URI)
    _, going, staying = connection.listAllStoragePools()
    going.destroy()
    assert any(f"<name>{staying.name()}</name>" in text for text, _ in listed)
    connection.close()
