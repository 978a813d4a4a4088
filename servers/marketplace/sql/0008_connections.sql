-- A customer's credential for a server of someone else's, sealed: the key is not in the database. Without a customer it is
-- the operator's own, with which such a server is asked for its tools.

CREATE TABLE connections (
    customer_id text REFERENCES customers,
    server_name text NOT NULL REFERENCES catalogue_entries,
    direction   text NOT NULL CHECK (direction IN ('input', 'output', 'both')),
    header      text NOT NULL CHECK (header ~ '^(authorization|x-[a-z0-9-]{1,60})$'),
    sealed      text NOT NULL CHECK (length(sealed) <= 8192),
    saved_by    text NOT NULL,
    tested_at   timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX connections_of_server ON connections (server_name, coalesce(customer_id, ''));
CREATE INDEX connections_of_customer ON connections (customer_id);

ALTER TABLE connections ENABLE ROW LEVEL SECURITY;
ALTER TABLE connections FORCE ROW LEVEL SECURITY;
CREATE POLICY own_connections ON connections
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR (customer_id IS NULL AND current_setting('app.platform', true) = 'on'));

CREATE TRIGGER connections_changed AFTER INSERT OR UPDATE OR DELETE ON connections
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('catalogue');
