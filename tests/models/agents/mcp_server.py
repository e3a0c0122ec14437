"""A real server, made with the SDK: `mcp_server.py stdio`, or `mcp_server.py http|sse PORT`."""

import sys

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp_types import ToolAnnotations
from starlette.requests import Request

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)

server = MCPServer("test", log_level="CRITICAL")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
def note(text: str) -> str:
    """Write a note."""
    return f"noted {text}"


@server.tool(name="files.draw")
def draw() -> Image:
    """Draw a pixel."""
    return Image(data=PIXEL, format="png")


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("the disk is on fire")


@server.tool()
async def who(context: Context) -> str:
    """Say who asks."""
    request: Request = context.request_context.request
    return request.headers.get("authorization", "nobody")


@server.tool()
async def learn(context: Context) -> str:
    """Learn another tool."""

    def shout(text: str) -> str:
        """Say it loudly."""
        return text.upper()

    server.add_tool(shout)
    await context.notify_tools_changed()
    return "learned"


match sys.argv[1:]:
    case ["stdio"]:
        server.run()
    case ["http", port]:
        server.run("streamable-http", port=int(port))
    case ["sse", port]:
        server.run("sse", port=int(port))
