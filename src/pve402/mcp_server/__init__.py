"""`pve402 mcp`: boxes as tools of an agent that speaks MCP (the Model Context Protocol) over stdio.

The wallet stays in this process, under the limits of the spend ledger. What services and guests
say is cleaned and bounded before an agent reads it. Needs `pip install 'pve402[mcp]'`; only
`server` imports what that brings.
"""
