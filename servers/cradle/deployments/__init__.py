"""Deployments: a customer's image as a running instance, which port it has, and how it is exchanged without loss."""
