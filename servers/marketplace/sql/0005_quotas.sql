-- How many calls of the running minute each key (a user, a customer, a customer's tool) has handed out to replicas, which
-- take them in blocks.

CREATE TABLE quotas (
    key         text PRIMARY KEY CHECK (length(key) <= 400),
    customer_id text REFERENCES customers,
    started     timestamptz NOT NULL,
    used        bigint NOT NULL,
    granted     bigint NOT NULL
);

CREATE INDEX quotas_by_time ON quotas (started);

ALTER TABLE quotas ENABLE ROW LEVEL SECURITY;
ALTER TABLE quotas FORCE ROW LEVEL SECURITY;
CREATE POLICY own_quotas ON quotas
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');
