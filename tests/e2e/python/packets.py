"""IP packets as a device sends them, and what comes back."""

import socket
import struct

ECHO_REQUEST, ECHO_REPLY = 8, 0
ICMP, UDP = 1, 17


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload):
    """An IPv4 packet without options (RFC 791)."""
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def echo(source, destination, number, payload):
    """An ICMP echo request (RFC 792); `number` is its sequence number."""
    head = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 7, number)
    head = head[:2] + struct.pack("!H", checksum(head + payload)) + head[4:]
    return ipv4(source, destination, ICMP, head + payload)


def udp(source, destination, ports, payload):
    """A UDP datagram over IPv4 without a checksum (RFC 768)."""
    return ipv4(source, destination, UDP, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload)


def query(name, number):
    """A DNS query for the IPv4 addresses of a name (RFC 1035)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


def addresses(answer):
    """The response code of a DNS answer, and the IPv4 addresses in it."""
    flags, questions, answers = struct.unpack("!HHH", answer[2:8])
    at = 12
    for _ in range(questions):
        at = _behind_name(answer, at) + 4
    found = []
    for _ in range(answers):
        at = _behind_name(answer, at)
        kind, _, _, length = struct.unpack("!HHIH", answer[at : at + 10])
        at += 10
        if kind == 1:
            found.append(socket.inet_ntoa(answer[at : at + length]))
        at += length
    return flags & 0xF, found


def _behind_name(message, at):
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += message[at] + 1
    return at + 1


def batch(packets):
    """Packets as the boundary takes them: end to end, and where each begins."""
    offsets = [0]
    for packet in packets:
        offsets.append(offsets[-1] + len(packet))
    return b"".join(packets), offsets


def split(received):
    """The packets of a batch that came."""
    ends = zip(received.offsets, received.offsets[1:])
    return [received.packets[start:end] for start, end in ends]
