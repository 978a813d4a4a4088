"""The OAuth 2.1 authorization server: clients that users let in, consent, codes and refresh tokens.

The protocol's handlers are the SDK's; here is what they ask: `Provider`.
"""
