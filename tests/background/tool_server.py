"""A real MCP server for the tests: stdio, or HTTP on the port that is given."""

from __future__ import annotations

import sys

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("stock")
READS = ToolAnnotations(read_only_hint=True)


@server.tool(annotations=READS)
def count_in_stock(item: str) -> str:
    """How many pieces of an item are in stock."""
    return f"{len(item) * 7} pieces of {item}"


@server.tool(annotations=READS)
def flood() -> str:
    """Returns far too much."""
    return "word " * 2_000_000


@server.tool()
def order(item: str, pieces: int) -> str:
    """Order more of an item."""
    return f"{pieces} pieces of {item} are on their way"


@server.tool(annotations=ToolAnnotations(read_only_hint=False))
def clear() -> str:
    """Throw everything away."""
    return "all is gone"


@server.tool(annotations=READS)
def broken() -> str:
    """Always fails."""
    raise RuntimeError("the warehouse burns")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
