"""Which addresses a process and all that it started listen on."""

import psutil


def addresses(process: int) -> set[str]:
    """IP addresses of every TCP socket that listens, and of every UDP socket that is bound, of a process id and its children."""
    first = psutil.Process(process)
    family = [first, *first.children(recursive=True)]
    sockets = [one for member in family for one in member.net_connections(kind="inet")]
    return {one.laddr.ip for one in sockets if one.laddr and not one.raddr and one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)}
