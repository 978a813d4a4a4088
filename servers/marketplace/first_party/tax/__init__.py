"""German VAT by published rules: identification numbers, rates by date, invoice totals, mandatory details."""
