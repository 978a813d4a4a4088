"""Who may use the platform: users, their passwords and keys, services, customers."""
