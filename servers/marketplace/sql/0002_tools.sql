-- Tool definitions as they were approved (the pin) and as they were seen last, who registered a server, and the
-- notifications that let every replica drop what it remembers.

ALTER TABLE catalogue_entries ADD COLUMN operated boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN catalogue_entries.operated IS
    'registered by the operator or a service of the platform: its address may be loopback or private';

CREATE TABLE server_tools (
    server_name     text NOT NULL REFERENCES catalogue_entries,
    customer_id     text REFERENCES customers,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    place           integer NOT NULL,
    pin             text CHECK (pin ~ '^sha256:[0-9a-f]{64}$'),
    pinned          text CHECK (octet_length(pinned) <= 262144),
    seen            text CHECK (seen ~ '^sha256:[0-9a-f]{64}$'),
    seen_definition text CHECK (octet_length(seen_definition) <= 262144),
    approved_by     text,
    PRIMARY KEY (server_name, name)
);

CREATE TABLE server_checks (
    server_name text PRIMARY KEY REFERENCES catalogue_entries,
    customer_id text REFERENCES customers,
    era         text CHECK (era IN ('modern', 'legacy')),
    checked_at  timestamptz,
    due_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX server_checks_due ON server_checks (due_at);

INSERT INTO server_checks (server_name, customer_id) SELECT server_name, customer_id FROM catalogue_entries;

ALTER TABLE server_tools ENABLE ROW LEVEL SECURITY;
ALTER TABLE server_tools FORCE ROW LEVEL SECURITY;
CREATE POLICY visible_tools ON server_tools
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR customer_id IS NULL
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');

ALTER TABLE server_checks ENABLE ROW LEVEL SECURITY;
ALTER TABLE server_checks FORCE ROW LEVEL SECURITY;
CREATE POLICY visible_checks ON server_checks
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR customer_id IS NULL
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');

CREATE FUNCTION tell_replicas() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('registry', TG_ARGV[0]);
    RETURN NULL;
END
$$;

CREATE TRIGGER entries_changed AFTER INSERT OR UPDATE OR DELETE ON catalogue_entries
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('catalogue');
CREATE TRIGGER installs_changed AFTER INSERT OR DELETE ON installs
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('catalogue');
CREATE TRIGGER tools_added AFTER INSERT OR DELETE ON server_tools
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('catalogue');
CREATE TRIGGER tools_changed AFTER UPDATE ON server_tools
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION tell_replicas('catalogue');
CREATE TRIGGER checks_changed AFTER UPDATE ON server_checks
    FOR EACH ROW WHEN (OLD.era IS DISTINCT FROM NEW.era
                       OR (OLD.checked_at IS NULL) IS DISTINCT FROM (NEW.checked_at IS NULL))
    EXECUTE FUNCTION tell_replicas('catalogue');
CREATE TRIGGER users_changed AFTER UPDATE OF disabled_at, role, customer_id ON users
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('accounts');
CREATE TRIGGER keys_changed AFTER UPDATE OF revoked_at ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('accounts');
CREATE TRIGGER services_changed AFTER UPDATE OF disabled_at ON services
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('accounts');
