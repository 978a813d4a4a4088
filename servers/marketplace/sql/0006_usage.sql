-- Units served for each customer, server, tool and day, and the batches of a spool that were added to them: a batch that
-- comes again after a crash changes nothing.

CREATE TABLE usage (
    customer_id text NOT NULL CHECK (customer_id ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' AND length(customer_id) <= 40),
    day         date NOT NULL,
    server_name text NOT NULL CHECK (length(server_name) <= 200),
    tool        text NOT NULL CHECK (length(tool) <= 128),
    calls       bigint NOT NULL DEFAULT 0 CHECK (calls >= 0),
    tokens      bigint NOT NULL DEFAULT 0 CHECK (tokens >= 0),
    pages       bigint NOT NULL DEFAULT 0 CHECK (pages >= 0),
    bytes       bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    PRIMARY KEY (customer_id, day, server_name, tool)
);

CREATE INDEX usage_by_day ON usage (day);

CREATE TABLE usage_batches (
    batch_id text PRIMARY KEY CHECK (batch_id ~ '^use_[a-z2-7]{26}$'),
    added_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX usage_batches_by_time ON usage_batches (added_at);

ALTER TABLE usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage FORCE ROW LEVEL SECURITY;
CREATE POLICY own_usage ON usage
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (current_setting('app.platform', true) = 'on');
