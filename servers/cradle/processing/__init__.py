"""What a customer's files become: sources → extraction → chunks → dataset, with a ledger of every file."""
