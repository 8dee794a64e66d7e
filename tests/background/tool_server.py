"""A real MCP server for the tests: stdio, or HTTP on the port that is given."""

from __future__ import annotations

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("stock")


@server.tool()
def count_in_stock(item: str) -> str:
    """How many pieces of an item are in stock."""
    return f"{len(item) * 7} pieces of {item}"


@server.tool()
def flood() -> str:
    """Returns far too much."""
    return "word " * 2_000_000


@server.tool()
def broken() -> str:
    """Always fails."""
    raise RuntimeError("the warehouse burns")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
