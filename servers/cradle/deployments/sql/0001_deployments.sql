-- Which customer's instance runs on which engine and port. No content: names of hosts, ports, tags and digests.
-- A stopped deployment keeps its port, so that it comes back under the same address.

CREATE TABLE deployments (
    customer_id    text NOT NULL CHECK (customer_id ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' AND length(customer_id) <= 40),
    host           text NOT NULL CHECK (host ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    port           integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
    state          text NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'serving', 'stopped')),
    tag            text CHECK (tag ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$'),
    image_digest   text CHECK (image_digest ~ '^sha256:[0-9a-f]{64}$'),
    dataset_digest text CHECK (dataset_digest ~ '^sha256:[0-9a-f]{64}$'),
    fingerprint    text CHECK (fingerprint ~ '^sha256:[0-9a-f]{64}$'),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, host),
    UNIQUE (host, port)
);

ALTER TABLE deployments ENABLE ROW LEVEL SECURITY;
ALTER TABLE deployments FORCE ROW LEVEL SECURITY;
CREATE POLICY own_deployments ON deployments
    USING (customer_id = nullif(current_setting('app.customer', true), ''))
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), ''));
