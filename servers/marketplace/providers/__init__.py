"""Identity providers of the operator's (OpenID Connect): what they say of people, and signing in through them.

A provider says who somebody is, by a verified e-mail address at one of its domains. Account, role and customer are the
registry's: nobody gets an account by a token, and one that has ended stays so.
"""
